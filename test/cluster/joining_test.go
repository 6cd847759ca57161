//go:build cluster

package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/controlplane"
	"kios/test/lab/netns"
)

// noNetwork is a CNI configuration for nodes whose pods are all in the node's
// network: the node is ready, and no add-on has to run first.
var noNetwork = map[string]string{
	"cni/net.d/10-none.conflist": `{"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "none"}]}` + "\n",
}

// with returns files of both.
func with(files ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		for path, text := range f {
			all[path] = text
		}
	}
	return all
}

// offers are files that a server of the cluster has from some moment on, and that
// pods of nodes fetch: in the place of whatever brings a machine its
// configuration.
type offers struct {
	mu    sync.Mutex
	files map[string]string
}

const offersPort = 8000

func (e *env) offers() *offers {
	o := &offers{files: map[string]string{}}
	e.serve(offersPort, o)
	return o
}

func (o *offers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text, ok := o.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(text))
}

// set offers a file below /etc to a node.
func (o *offers) set(n *node, path, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files["/"+n.name+"/"+path] = text
}

// fetching is the manifest of a static pod that keeps a file below /etc as it is
// offered to the node.
func fetching(node, path string) map[string]string {
	name := "fetch-" + strings.NewReplacer("/", "-", ".", "-").Replace(path)
	return map[string]string{"kubernetes/manifests/" + name + ".yaml": fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: kube-system, uid: "%[2]x"}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: kios.local/workload:1
    args: [follow, "http://%[3]s:%[4]d/%[5]s/%[6]s", /host/%[6]s]
    volumeMounts: [{name: etc, mountPath: /host}]
  volumes: [{name: etc, hostPath: {path: /etc}}]
`, name, name[len(name)-16:], gateway, offersPort, node, path)}
}

// standing is a static pod whose container must not be restarted.
var standing = map[string]string{"kubernetes/manifests/standing.yaml": `apiVersion: v1
kind: Pod
metadata: {name: standing, namespace: default, uid: 7374616e64696e670000000000000000}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
`}

const bootstrapFile = "kubernetes/bootstrap-kubelet.conf"

// bootstrapKubeconfig is the one that a worker of the cluster has.
func (e *env) bootstrapKubeconfig() string {
	e.t.Helper()
	files, err := e.cluster.Worker(clusterconfig.Node{Name: "any"})
	lab.Must(e.t, err)
	for _, f := range files {
		if f.Path == bootstrapFile {
			return string(f.Data)
		}
	}
	e.t.Fatalf("a worker has no %s", bootstrapFile)
	return ""
}

// checkStanding demands that the API server shows the static pod that stood
// there before the node joined, and that its container is still the same.
func checkStanding(u *user, n *node, before time.Time) {
	u.t.Helper()
	object := "pod/standing-" + n.name
	u.waitFor(object, "create")
	u.ready("standing-" + n.name)
	at := u.field(object, "{.status.containerStatuses[0].state.running.startedAt}")
	started, err := time.Parse(time.RFC3339, at)
	if err != nil || started.After(before) {
		u.t.Errorf("the static pod's container started at %s, want before %s", at, before.UTC())
	}
}

// kubeletStarts counts how often the kubelet was started since the machine was.
func kubeletStarts(u *user, n *node) int {
	u.t.Helper()
	text, err := n.log(u, "kubelet")
	lab.Must(u.t, err)
	return strings.Count(text, `"Kubelet version"`)
}

// TestJoinLater boots a node that belongs to no cluster, gives it a static pod,
// and then lets it join.
func TestJoinLater(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		without: []string{bootstrapFile},
		etc:     with(noNetwork, standing, fetching("worker-1", bootstrapFile)),
	})
	n.expect(t, `pod default/standing\S* container main started`)
	n.expect(t, `pod kube-system/fetch\S* container main started`)
	u := e.admin(t)
	if text := u.kubectl("get", "nodes", "-o", "name"); text != "" {
		t.Fatalf("the cluster knows %s already", text)
	}
	before := time.Now()
	o.set(n, bootstrapFile, e.bootstrapKubeconfig())
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	checkCertificates(u, n)
	checkStanding(u, n, before)
	u.eventually("the kubelet's log", func() error { _, err := n.log(u, "kubelet"); return err })
	if got := kubeletStarts(u, n); got != 2 {
		t.Errorf("the kubelet was started %d times, want 2: alone, and into the cluster", got)
	}
	// The API server decides now who may use the kubelet's port.
	if text, err := e.curl("--insecure", "https://"+n.address+":10250/pods"); err != nil || !strings.Contains(text, "Unauthorized") {
		t.Errorf("a stranger asks for the kubelet's pods: %q, %v", text, err)
	}
	n.powerOff(t)
}

// TestNameFromDHCP boots a node that has a token to join with and no name. It joins
// under the one that the network gives it, and keeps that.
func TestNameFromDHCP(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	n := e.prepare(setup{name: "from-dhcp", memory: 768, etc: noNetwork, without: []string{"hostname", "kios/network.yaml"}})
	netns.Start(t, e.name, nil, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
		"--user=root", "--pid-file=", "--port=0", "--interface=lan", "--bind-interfaces", "--no-ping",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"), "--dhcp-range=10.79.0.10,10.79.0.99,255.255.255.0,10m",
		"--dhcp-host="+n.cfg.MAC+","+n.address+","+n.name, "--dhcp-option=option:dns-server,"+gateway)
	n.start(t)
	n.expect(t, `the network calls this node from-dhcp, not kios-[0-9a-f]+ any more`)
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	if text := u.kubectl("get", "nodes", "-o", "name"); text != "node/"+n.name+"\n" {
		t.Errorf("the cluster's nodes are %q, want %s alone", text, n.name)
	}
	n.powerOff(t)
	n.start(t)
	if got := n.probe(t, "cat", "/proc/sys/kernel/hostname"); got != n.name+"\n" {
		t.Errorf("after a reboot the node is called %q, want %s", got, n.name)
	}
	for _, line := range n.Lines() {
		if strings.Contains(line.Text, "the network calls this node") {
			t.Errorf("the next boot did not start with the name: %s", line.Text)
		}
	}
	n.powerOff(t)
}

// TestKubeconfigs boots a node with a client certificate that an administrator
// has had signed, and one with a token that a pod keeps fresh.
func TestKubeconfigs(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	t.Run("ClientCertificate", func(t *testing.T) {
		n := e.boot(setup{
			name: "with-certificate", memory: 768,
			without: []string{bootstrapFile},
			etc:     with(noNetwork, map[string]string{"kubernetes/kubelet.conf": e.kubeconfigFor(clientCertificate(e.admin(t), "with-certificate"))}),
		})
		u := e.admin(t)
		u.waitFor("node/"+n.name, "create")
		u.waitFor("node/"+n.name, "condition=Ready")
		u.eventually("a serving certificate", func() error {
			list, err := requests(u)
			return errors.Join(err, signed(list, "kubernetes.io/kubelet-serving", "system:node:"+n.name))
		})
		u.demand(n.probe(t, "cat", "/etc/hostname"), n.name)
		n.powerOff(t)
	})
	t.Run("TokenFile", func(t *testing.T) {
		const path = "kubernetes/token"
		n := e.prepare(setup{
			name: "with-token", memory: 768,
			without: []string{bootstrapFile},
			etc: with(noNetwork, standing, fetching("with-token", path), map[string]string{
				"kubernetes/kubelet.conf": e.kubeconfigFor("tokenFile: /etc/kubernetes/token"),
			}),
		})
		testTokenFile(e.admin(t), n, o, path)
		n.powerOff(t)
	})
}

// kubeconfigFor makes one for the API server; credentials are fields
// of a user.
func (e *env) kubeconfigFor(credentials string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://%s", certificate-authority: /etc/kubernetes/pki/ca.crt}}]
contexts: [{name: lab, context: {cluster: lab, user: node}}]
current-context: lab
users:
- name: node
  user:
    %s
`, endpoint, strings.ReplaceAll(credentials, "\n", "\n    "))
}

// clientCertificate has a node's certificate signed in the way that
// docs/joining.md shows.
func clientCertificate(u *user, name string) string {
	u.t.Helper()
	manifest, key := controlplane.Request{Name: name, Node: name, Signer: "kube-apiserver-client-kubelet", Usage: "client auth"}.Make(u.t)
	u.apply(manifest)
	u.kubectl("certificate", "approve", name)
	object := "certificatesigningrequest/" + name
	u.waitFor(object, "jsonpath={.status.certificate}")
	return "client-certificate-data: " + u.field(object, "{.status.certificate}") + "\nclient-key-data: " + base64.StdEncoding.EncodeToString(key)
}

// testTokenFile gives a node tokens of a service account. The first one is
// withdrawn; the kubelet has to notice the second.
func testTokenFile(u *user, n *node, o *offers, path string) {
	u.apply(`apiVersion: v1
kind: ServiceAccount
metadata: {name: nodes}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: nodes-with-tokens}
subjects: [{kind: ServiceAccount, name: nodes, namespace: default}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:node}
`)
	u.kubectl("create", "secret", "generic", "first")
	u.kubectl("create", "secret", "generic", "second")
	token := func(secret string) string {
		return u.kubectl("create", "token", "nodes", "--bound-object-kind=Secret", "--bound-object-name="+secret)
	}
	n.start(u.t)
	n.expect(u.t, `pod default/standing\S* container main started`)
	before := time.Now()
	o.set(n, path, token("first"))
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.kubectl("delete", "secret", "first")
	u.waitFor("node/"+n.name, "condition=Ready=Unknown")
	o.set(n, path, token("second"))
	u.waitFor("node/"+n.name, "condition=Ready")
	checkStanding(u, n, before)
}

// noRunc is good, and no container starts with it.
const noRunc = `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "/bin/kubelet"
`

// garbage is in each file of the node that has a grammar.
var garbage = map[string]string{
	"machine-id":                           "not a machine's id\n",
	"kubernetes/kubelet.conf":              "no-such-field: {\x01\n",
	"kubernetes/config.yaml":               kubeletConfiguration + "maxPods: many\n",
	"kubernetes/config.d/80-unknown.yaml":  kubeletConfiguration + "noSuchField: true\n",
	"kubernetes/config.d/81-yaml.yaml":     "{\n",
	"kubernetes/node-labels":               "this is no label\nexample.com/good: \"yes\"\n",
	"kubernetes/node-ip":                   "somewhere\n",
	"kubernetes/credential-providers.yaml": "providers: none\n",
	"kubernetes/manifests/broken.yaml":     "kind: Pod\nspec: [\n",
	"containerd/config.toml":               noRunc,
	"kios/time.yaml":                       "servers: {\n",
	"kios/modules.yaml":                    "nonsense: {\n",
}

// TestBadFiles boots a node of whose files each is bad. It comes up, names them
// all, and joins when the one that it needs for it is mended. The cluster hears of the
// one that only a trial could tell of.
func TestBadFiles(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	o := e.offers()
	n := e.boot(setup{
		name: "worker-1", memory: 768,
		etc: with(noNetwork, standing, garbage, fetching("worker-1", bootstrapFile),
			map[string]string{bootstrapFile: "apiVersion: v1\nkind: Config\nclusters: 3\n"}),
	})
	n.expectLate(t, `error: containerd does not work with /etc/containerd/config.toml .*it starts without`)
	n.expect(t, `pod default/standing\S* container main started`)
	before := time.Now()
	o.set(n, bootstrapFile, e.bootstrapKubeconfig())
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	checkStanding(u, n, before)
	if got := u.field("node/"+n.name, `{.metadata.labels.example\.com/good}`); got != "yes" {
		t.Errorf("the good label is %q", got)
	}
	checkNamed(u, n)
	checkRejected(u, n)
	n.powerOff(t)
}

// checkRejected looks at what the cluster knows of a file that the node does without.
func checkRejected(u *user, n *node) {
	u.t.Helper()
	const message = "containerd does not stay up with /etc/containerd/config.toml, so it uses no files: "
	u.eventually("an event", func() error {
		text, err := u.try("get", "events", "--field-selector=reason=ConfigurationRejected", "-o", "jsonpath={.items[*].involvedObject.name} {.items[*].message}")
		return errors.Join(err, wants(text, n.name+" "+message))
	})
	u.demand(u.kubectl("describe", "node", n.name), "ConfigurationRejected")
}

// checkNamed looks for the name of each bad file in the node's logs.
func checkNamed(u *user, n *node) {
	u.t.Helper()
	for path := range with(garbage, map[string]string{bootstrapFile: ""}) {
		u.eventually("a word about /etc/"+path, func() error {
			var logs strings.Builder
			for _, line := range n.Lines() {
				fmt.Fprintln(&logs, line.Text)
			}
			for _, name := range []string{"kernel", "kubelet", "containerd"} {
				text, err := n.log(u, name)
				if err != nil {
					return err
				}
				logs.WriteString(text)
			}
			for _, pod := range []string{"time", "modules"} {
				text, err := u.try("logs", "-n", "kube-system", pod+"-"+n.name)
				if err != nil {
					return err
				}
				logs.WriteString(text)
			}
			if !strings.Contains(logs.String(), "/etc/"+path) {
				return errors.New("no log names it")
			}
			return nil
		})
	}
}
