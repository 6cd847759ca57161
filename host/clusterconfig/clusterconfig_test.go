package clusterconfig

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"kios/host/etccheck"
	"kios/host/pki"
	"kios/internal/discovery"
	"kios/internal/kubeconfig"
	"kios/test/lab"
)

var testConfig = Config{Endpoint: "10.77.0.10:6443", Names: []string{"127.0.0.1", "api.example"}}

func open(t *testing.T, dir string, cfg Config) *Cluster {
	t.Helper()
	c, err := Open(dir, cfg)
	lab.Must(t, err)
	return c
}

// snapshot reads all files below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(text)
		return err
	})
	lab.Must(t, err)
	return files
}

// changed lists the files that differ, or are in one of the two only.
func changed(a, b map[string]string) []string {
	var names []string
	for name := range a {
		if b[name] != a[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, found := a[name]; !found {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestOpenAgain(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, testConfig)
	before := snapshot(t, dir)
	second := open(t, dir, testConfig)
	if names := changed(before, snapshot(t, dir)); names != nil {
		t.Errorf("opened again, these changed: %q", names)
	}
	if first.Token() != second.Token() || discovery.CheckToken(first.Token()) != nil {
		t.Errorf("tokens are %q and %q, want the same one twice", first.Token(), second.Token())
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	open(t, dir, testConfig)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s, want nothing for others", path, info.Mode())
		}
		return err
	})
	lab.Must(t, err)
}

// What a crash may leave, and what somebody deleted or damaged.
func TestOpenMends(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(c *Cluster) error
		want   []string // the files that are made anew
	}{
		{"a certificate is missing", func(c *Cluster) error { return os.Remove(c.path("pki/apiserver.crt")) },
			[]string{"pki/apiserver.crt", "pki/apiserver.key"}},
		{"a key without its certificate", func(c *Cluster) error { return os.Remove(c.path("pki/etcd/peer.key")) },
			[]string{"pki/etcd/peer.crt", "pki/etcd/peer.key"}},
		{"a new key with the old certificate", func(c *Cluster) error {
			pair, err := c.pki.etcd.Client("x")
			if err != nil {
				return err
			}
			return os.WriteFile(c.path("pki/apiserver-etcd-client.key"), pair.Key, 0o600)
		}, []string{"pki/apiserver-etcd-client.crt", "pki/apiserver-etcd-client.key"}},
		{"an empty certificate", func(c *Cluster) error { return os.Truncate(c.path("pki/front-proxy-client.crt"), 0) },
			[]string{"pki/front-proxy-client.crt", "pki/front-proxy-client.key"}},
		{"a certificate of another authority", func(c *Cluster) error {
			pair, err := c.pki.etcd.Client(kubeletClient)
			if err != nil {
				return err
			}
			return c.writePair("pki/apiserver-kubelet-client", pair)
		}, []string{"pki/apiserver-kubelet-client.crt", "pki/apiserver-kubelet-client.key"}},
		{"no public key", func(c *Cluster) error { return os.Remove(c.path("pki/sa.pub")) }, nil},
		{"garbage for a kubeconfig", func(c *Cluster) error { return os.WriteFile(c.path("scheduler.conf"), []byte("\t"), 0o600) },
			[]string{"scheduler.conf"}},
		{"no token", func(c *Cluster) error { return os.Remove(c.path("token")) }, []string{"token"}},
		{"a first start that was killed between an authority's key and its certificate", func(c *Cluster) error {
			return errors.Join(os.Remove(c.path("pki/front-proxy-ca.crt")), os.Remove(c.path("pki/sa.key")))
		}, []string{"pki/front-proxy-ca.crt", "pki/front-proxy-ca.key", "pki/front-proxy-client.crt", "pki/front-proxy-client.key", "pki/sa.key", "pki/sa.pub"}},
	} {
		dir := t.TempDir()
		c := open(t, dir, testConfig)
		before := snapshot(t, dir)
		lab.Must(t, tt.damage(c))
		open(t, dir, testConfig)
		if diff := cmp.Diff(tt.want, changed(before, snapshot(t, dir))); diff != "" {
			t.Errorf("%s: made anew (-want +got):\n%s", tt.name, diff)
		}
	}
}

// An authority that is damaged is not replaced: what it signed would be void.
func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(c *Cluster) error
		want   string
	}{
		{"no key", func(c *Cluster) error { return os.Remove(c.path("pki/ca.key")) }, "pki/ca.key: no such file or directory; restore it from your backup"},
		{"no certificate", func(c *Cluster) error { return os.Remove(c.path("pki/ca.crt")) }, "pki/ca.crt: no such file or directory; restore it from your backup"},
		{"an empty certificate", func(c *Cluster) error { return os.Truncate(c.path("pki/ca.crt"), 0) }, "pki/ca.crt"},
		{"an expired one", func(c *Cluster) error {
			ca, err := pki.NewCAFor("kubernetes", -time.Hour)
			if err != nil {
				return err
			}
			key, err := ca.Key()
			if err != nil {
				return err
			}
			return c.writePair("pki/ca", pki.Pair{Cert: ca.Cert(), Key: key})
		}, "expired"},
		{"no key for service accounts in the file", func(c *Cluster) error { return os.Truncate(c.path("pki/sa.key"), 0) }, "pki/sa.key"},
		{"a token of another form", func(c *Cluster) error { return os.WriteFile(c.path("token"), []byte("x"), 0o600) }, "remove the file"},
	} {
		dir := t.TempDir()
		c := open(t, dir, testConfig)
		lab.Must(t, tt.damage(c))
		if _, err := Open(dir, testConfig); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open() = %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestOpenElsewhere(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, testConfig)
	before := snapshot(t, dir)
	cfg := testConfig
	cfg.Endpoint = "10.77.0.20:6443"
	c := open(t, dir, cfg)
	want := []string{"admin.conf", "pki/apiserver.crt", "pki/apiserver.key"}
	if diff := cmp.Diff(want, changed(before, snapshot(t, dir))); diff != "" {
		t.Errorf("with another endpoint, made anew (-want +got):\n%s", diff)
	}
	cert := certificate(t, c, "pki/apiserver")
	if cert.VerifyHostname("10.77.0.20") != nil || cert.VerifyHostname("10.77.0.10") == nil {
		t.Errorf("the certificate is for %v, want the new endpoint and not the old one", cert.IPAddresses)
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Endpoint = "" }, "HOST:PORT"},
		{func(c *Config) { c.Endpoint = "10.77.0.10" }, "HOST:PORT"},
		{func(c *Config) { c.Endpoint = "10.77.0.10:0" }, "not a port"},
		{func(c *Config) { c.Endpoint = "10.77.0.10:https" }, "not a port"},
		{func(c *Config) { c.Endpoint = "API.example:6443" }, "lower case"},
		{func(c *Config) { c.Endpoint = "[fe80::1%eth0]:6443" }, "neither an address"},
		{func(c *Config) { c.Names = []string{"*.example"} }, "neither an address"},
		{func(c *Config) { c.Name = "My cluster" }, "not a valid name for a cluster"},
		{func(c *Config) { c.Kubernetes = "1.37" }, "not a version"},
		{func(c *Config) { c.PodCIDR = "10.244.0.1/16" }, "not a network for pods"},
		{func(c *Config) { c.ServiceCIDR = "x" }, "not a network for services"},
		{func(c *Config) { c.ServiceCIDR = "10.244.128.0/24" }, "overlap"},
		{func(c *Config) { c.PodCIDR = "fd00::/48" }, "must be an IPv4 network"},
		{func(c *Config) { c.PodCIDR = "10.244.0.0/25" }, "from /8 to /24"},
		{func(c *Config) { c.ServiceCIDR = "fd00::/112" }, "must be an IPv4 network"},
		{func(c *Config) { c.ServiceCIDR = "10.96.0.0/29" }, "too small"},
		{func(c *Config) { c.NodeCertificates = time.Second }, "only 1s"},
		{func(c *Config) { c.NodeCIDRs = []string{"10.77.0.1"} }, "not a network for nodes"},
	} {
		cfg := testConfig
		tt.change(&cfg)
		if _, err := Open(t.TempDir(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%+v) = %v, want an error with %q", cfg, err, tt.want)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	for server, want := range map[string]string{"": "https://10.77.0.10:6443", "https://127.0.0.1:16443": "https://127.0.0.1:16443"} {
		text, err := c.Kubeconfig(server)
		lab.Must(t, err)
		var k kubeconfig.Config
		lab.Must(t, yaml.UnmarshalStrict(text, &k))
		if got := k.Clusters[0].Cluster.Server; got != want {
			t.Errorf("Kubeconfig(%q) has the server %s, want %s", server, got, want)
		}
		cert, _, err := pairOf(text).Parse()
		lab.Must(t, err)
		if cert.Subject.CommonName != "kubernetes-admin" || !slices.Equal(cert.Subject.Organization, []string{"system:masters"}) {
			t.Errorf("Kubeconfig(%q) is for %s", server, cert.Subject)
		}
	}
}

func TestAddOns(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	text, err := c.AddOns()
	lab.Must(t, err)
	kinds := map[string]int{}
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var object struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		json, err := yaml.YAMLToJSONStrict(doc)
		if err == nil {
			err = yaml.Unmarshal(json, &object)
		}
		if err != nil || object.APIVersion == "" || object.Metadata.Name == "" {
			t.Errorf("object %+v: %v in\n%s", object, err, doc)
		}
		kinds[object.Kind]++
	}
	if kinds["Secret"] != 1 || kinds["DaemonSet"] < 2 || kinds["Deployment"] != 1 {
		t.Errorf("kinds of objects: %v, want a token, flannel, kube-proxy and CoreDNS", kinds)
	}
	id, secret, _ := strings.Cut(c.Token(), ".")
	for _, want := range []string{"token-id: " + id, "token-secret: " + secret, "clusterIP: 10.96.0.10", "10.244.0.0/16"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the add-ons do not have %q", want)
		}
	}
}

func TestWorker(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	files, err := c.Worker(Node{Name: "worker-1", Address: "10.77.0.11", Labels: map[string]string{"example.com/a": "b"}, Taints: []string{"gpu:NoSchedule"}})
	lab.Must(t, err)
	dir := t.TempDir()
	lab.Must(t, files.Write(dir))
	got := snapshot(t, dir)
	for name, want := range map[string]string{
		"hostname":               "worker-1\n",
		"kubernetes/node-ip":     "10.77.0.11\n",
		"kubernetes/node-labels": "example.com/a: b\n",
		"kubernetes/pki/ca.crt":  string(c.CA()),
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	for name, want := range map[string][]string{
		"kubernetes/bootstrap-kubelet.conf": {"https://10.77.0.10:6443", c.Token()},
		"kubernetes/config.d/10-join.yaml":  {"10.96.0.10", "gpu", "NoSchedule"},
	} {
		for _, part := range want {
			if !strings.Contains(got[name], part) {
				t.Errorf("%s is %q, want it to have %s", name, got[name], part)
			}
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("a worker has more files: %v", got)
	}
}

// The add-ons and the static pods say which images they run, and the build
// which it makes.
func TestVersions(t *testing.T) {
	for _, tt := range []struct{ file, module, want string }{
		{"controlplane", "k8s.io/kubernetes", DefaultKubernetes},
		{"etcd", "go.etcd.io/etcd/server/v3", etcdVersion},
		{"coredns", "github.com/coredns/coredns", coreDNSVersion},
		{"flannel", "github.com/flannel-io/flannel", flannelVersion},
	} {
		text, err := os.ReadFile("../../upstream/" + tt.file + "/go.mod")
		lab.Must(t, err)
		if !bytes.Contains(text, []byte(tt.module+" "+tt.want+"\n")) && !bytes.Contains(text, []byte(tt.module+" "+tt.want+" ")) {
			t.Errorf("upstream/%s/go.mod does not have %s %s", tt.file, tt.module, tt.want)
		}
	}
}

// openssl reads certificates in its own way, and finds what Go lets pass.
func TestOpenSSL(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	for _, tt := range []struct{ ca, purpose, cert string }{
		{"pki/ca", "sslserver", "pki/apiserver"},
		{"pki/ca", "sslclient", "pki/apiserver-kubelet-client"},
		{"pki/front-proxy-ca", "sslclient", "pki/front-proxy-client"},
		{"pki/etcd/ca", "sslserver", "pki/etcd/server"},
		{"pki/etcd/ca", "sslclient", "pki/etcd/peer"},
		{"pki/etcd/ca", "sslclient", "pki/apiserver-etcd-client"},
	} {
		out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", tt.purpose, "-CAfile", c.path(tt.ca+".crt"), c.path(tt.cert+".crt")).CombinedOutput()
		if err != nil {
			t.Errorf("openssl verify %s: %v\n%s", tt.cert, err, out)
		}
	}
}

func TestControlPlane(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	files, err := c.ControlPlane(Node{Name: "control-plane"})
	lab.Must(t, err)
	dir := t.TempDir()
	lab.Must(t, files.Write(dir))
	if err := etccheck.Check(dir, nil); err != nil {
		t.Error(err)
	}
	for _, f := range files {
		secret := strings.HasSuffix(f.Path, ".key") || strings.HasSuffix(f.Path, ".conf")
		if secret && f.Mode != 0o600 {
			t.Errorf("%s has mode %s, want 0600", f.Path, f.Mode)
		}
	}
	etc := snapshot(t, dir)
	if got := etc["kubernetes/node-ip"]; got != "10.77.0.10\n" {
		t.Errorf("node-ip is %q, want the endpoint's", got)
	}
	if !strings.Contains(etc["kubernetes/config.d/10-join.yaml"], "node-role.kubernetes.io/control-plane") {
		t.Errorf("the node has no taint: %s", etc["kubernetes/config.d/10-join.yaml"])
	}
	for _, name := range []string{"kubernetes/pki/front-proxy-ca.key", "kubernetes/pki/etcd/ca.key", "kubernetes/admin.conf"} {
		if _, found := etc[name]; found {
			t.Errorf("the node has %s, which nothing there uses", name)
		}
	}
	for _, p := range c.programs(onNode(Node{Name: "control-plane", Address: "10.77.0.10"})) {
		checkStaticPod(t, p, etc["kubernetes/manifests/"+p.name+".yaml"], etc)
	}
}

// Each program that has a liveness probe gets its patience from where it runs.
func TestLiveness(t *testing.T) {
	livenessOf := regexp.MustCompile(`livenessProbe:\n(?:.*\n)*?\s+failureThreshold: (\d+)\n`)
	for _, tt := range []struct {
		emulated bool
		failures string
	}{{false, "8"}, {true, "60"}} {
		cfg := testConfig
		cfg.Emulated = tt.emulated
		c := open(t, t.TempDir(), cfg)
		files, err := c.ControlPlane(Node{Name: "control-plane"})
		lab.Must(t, err)
		text, err := c.AddOns()
		lab.Must(t, err)
		for _, f := range files {
			text = append(text, f.Data...)
		}
		var got []string
		for _, m := range livenessOf.FindAllSubmatch(text, -1) {
			got = append(got, string(m[1]))
		}
		if want := slices.Repeat([]string{tt.failures}, 5); !slices.Equal(got, want) { // those of Kubernetes, etcd, CoreDNS
			t.Errorf("emulated %t: failures of liveness probes are %q, want %q", tt.emulated, got, want)
		}
	}
}

// staticPod is as much of a pod as is checked.
type staticPod struct {
	Metadata struct{ Name, UID string }
	Spec     struct {
		HostNetwork bool
		Containers  []struct {
			Args            []string
			SecurityContext struct {
				AllowPrivilegeEscalation *bool
				ReadOnlyRootFilesystem   bool
				Capabilities             struct{ Add, Drop []string }
			}
			VolumeMounts []struct {
				Name, MountPath string
				ReadOnly        bool
			}
		}
		Volumes []struct {
			Name     string
			HostPath struct{ Path, Type string }
		}
	}
}

// checkStaticPod compares a manifest with the program's arguments: each file
// that they name is on the node and in the container, and none besides.
func checkStaticPod(t *testing.T, p program, manifest string, etc map[string]string) {
	t.Helper()
	var pod staticPod
	if err := yaml.Unmarshal([]byte(manifest), &pod); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if pod.Metadata.Name != p.name || len(pod.Metadata.UID) != 32 {
		t.Errorf("%s: the pod is %+v, want a name and a UID", p.name, pod.Metadata)
	}
	c := pod.Spec.Containers[0]
	if diff := cmp.Diff(p.args(), c.Args); diff != "" {
		t.Errorf("%s: arguments (-want +got):\n%s", p.name, diff)
	}
	security := c.SecurityContext
	if security.AllowPrivilegeEscalation == nil || *security.AllowPrivilegeEscalation || !security.ReadOnlyRootFilesystem ||
		len(security.Capabilities.Add) > 0 || !slices.Equal(security.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: securityContext is %+v", p.name, security)
	}
	var mounted []string
	for i, m := range c.VolumeMounts {
		v := pod.Spec.Volumes[i]
		if v.Name != m.Name {
			t.Errorf("%s: the mount %s is not of the volume %s", p.name, m.Name, v.Name)
		}
		if v.HostPath.Type != "File" {
			continue
		}
		if !m.ReadOnly || v.HostPath.Path != m.MountPath {
			t.Errorf("%s: the mount %+v", p.name, m)
		}
		mounted = append(mounted, m.MountPath)
		if _, found := etc[strings.TrimPrefix(m.MountPath, "/etc/")]; !found {
			t.Errorf("%s: the node does not have %s", p.name, m.MountPath)
		}
	}
	if diff := cmp.Diff(p.files(onNode(Node{})), mounted); diff != "" {
		t.Errorf("%s: files (-want +got):\n%s", p.name, diff)
	}
}

func TestProcesses(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	if _, err := c.Processes(map[string]string{"etcd": "/bin/etcd"}); err == nil || !strings.Contains(err.Error(), "kios cluster build") {
		t.Errorf("Processes() without a program = %v, want a remedy", err)
	}
	all, err := c.Processes(map[string]string{"etcd": "/bin/etcd", "kubernetes": "/bin/kubernetes"})
	lab.Must(t, err)
	for _, p := range all {
		for _, arg := range p.Argv {
			_, value, _ := strings.Cut(arg, "=")
			if !strings.HasPrefix(value, c.dir) || filepath.Base(value) == "etcd" {
				continue
			}
			if _, err := os.Stat(value); err != nil {
				t.Errorf("%s %s: %v", p.Name, arg, err)
			}
		}
	}
}

// No node gets a certificate for a name of the API server, but the one that runs it.
func TestForbidden(t *testing.T) {
	cfg := testConfig
	cfg.Endpoint, cfg.Names = "k8s.example:6443", []string{"control-plane", "10.77.0.10", "127.0.0.1", "192.0.2.1", "api.example"}
	c := open(t, t.TempDir(), cfg)
	const networks = "--forbidden=10.96.0.0/16,10.244.0.0/16,"
	for _, tt := range []struct {
		at   place
		want []string
	}{
		{onNode(Node{Name: "control-plane", Address: "10.77.0.10"}), []string{
			networks + "k8s.example,control-plane,10.77.0.10,192.0.2.1,api.example", "--api-server-nodes=control-plane",
		}},
		{onNode(Node{Name: "first"}), []string{
			networks + "k8s.example,first,control-plane,10.77.0.10,192.0.2.1,api.example", "--api-server-nodes=first",
		}},
		{place{config: "/x"}, []string{networks + "k8s.example,control-plane,10.77.0.10,192.0.2.1,api.example"}},
	} {
		got := c.approver(tt.at).args()
		i := slices.IndexFunc(got, func(arg string) bool { return strings.HasPrefix(arg, "--forbidden=") })
		if diff := cmp.Diff(tt.want, got[i:]); diff != "" {
			t.Errorf("arguments of the approver at %+v (-want +got):\n%s", tt.at, diff)
		}
	}
}

// A cluster that was made otherwise gives the approver the same role.
func TestApproverOfOthers(t *testing.T) {
	text, err := os.ReadFile("../../docs/approver.yaml")
	lab.Must(t, err)
	role, err := os.ReadFile("addons/approver.yaml")
	lab.Must(t, err)
	_, rules, _ := bytes.Cut(role, []byte("kind: ClusterRole\n"))
	if !bytes.Contains(text, rules) {
		t.Error("docs/approver.yaml has another role than addons/approver.yaml")
	}
}
