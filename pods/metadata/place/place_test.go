package place

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/internal/daemonenv"
	"kios/internal/instance"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

const (
	token = "abcdef.0123456789abcdef"
	board = "ec2a0000-1111-4222-8333-444455556666" // its UUID
)

// node is a root directory with what was said of it.
type node struct {
	t    *testing.T
	root string
	Result
}

func newNode(t *testing.T) *node {
	n := &node{t: t, root: t.TempDir()}
	lab.Must(t, os.MkdirAll(filepath.Join(n.root, "etc/kubernetes"), 0o755))
	lab.Must(t, os.Symlink("../run/kios/network/resolv.conf", filepath.Join(n.root, "etc/resolv.conf")))
	n.write("/sys/class/dmi/id/product_uuid", strings.ToUpper(board)+"\n")
	return n
}

func (n *node) write(path, text string) {
	n.t.Helper()
	lab.WriteFile(n.t, filepath.Join(n.root, path), text)
}

func (n *node) apply(m want.Machine, w want.Node, c *want.Cluster, more ...want.File) {
	n.t.Helper()
	var err error
	n.Result, err = Apply(n.root, &m, &w, c, more...)
	lab.Must(n.t, err)
}

// said checks the lines: each has one of the texts, in that order.
func (n *node) said(texts ...string) {
	n.t.Helper()
	if len(n.Lines) != len(texts) {
		n.t.Errorf("lines are %q, want %q", n.Lines, texts)
		return
	}
	for i, text := range texts {
		if !strings.Contains(n.Lines[i], text) || strings.Contains(n.Lines[i], "\n") {
			n.t.Errorf("line %q, want %q", n.Lines[i], text)
		}
	}
}

// has checks the files below /etc and /run, as "PATH MODE"; * stands for any content.
func (n *node) has(want map[string]string) {
	n.t.Helper()
	got := map[string]string{}
	for _, dir := range []string{"etc", "run"} {
		err := filepath.WalkDir(filepath.Join(n.root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			lab.Must(n.t, err)
			name := fmt.Sprintf("%s %04o", strings.TrimPrefix(path, n.root), info.Mode())
			if got[name] = lab.ReadFile(n.t, path); want[name] == "*" {
				got[name] = "*"
			}
			return nil
		})
		lab.Must(n.t, err)
	}
	delete(got, "/run/kios/metadata.json 0644")
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("files (-want +got):\n%s", diff)
	}
}

// full asks for everything.
func full() want.Node {
	return want.Node{
		Hostname:    "Node-1",
		Labels:      map[string]string{"a": "b", "topology.kubernetes.io/zone": "mine", "node-role.kubernetes.io/x": "y"},
		Kubelet:     map[string]any{"maxPods": 20},
		Flags:       []string{"--cloud-provider=external", "--node-ip=10.0.0.1", "--node-labels=c=d", "--v=2", "--housekeeping-interval=20s", "--x=a\nb"},
		Containerd:  []string{"version = 3\n"},
		Environment: map[string]string{"HTTPS_PROXY": "http://u:p@proxy"},
		Nameservers: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
		Search:      []string{"example.com", "a b"},
		Files:       []want.File{{Path: "/etc/kubernetes/azure.json", Content: []byte("{}"), Mode: 0o600}, {Path: "/run/cluster-api/placeholder"}},
		Join:        &want.Join{Server: "https://given:6443", Token: token, Hashes: []string{"x"}, ClusterConfig: true},
	}
}

var (
	machine = want.Machine{Provider: "ec2", ID: "i-1", ProviderID: "aws:///a/i-1", Hostname: "ip-10-0-0-1.ec2.internal", Zone: "eu-1a", Region: "eu-1", Type: "m5.large"}
	cluster = &want.Cluster{Server: "https://lb:6443", CA: []byte("CA"), Kubelet: map[string]any{"clusterDNS": []any{"10.96.0.10"}, "maxPods": 110}}
)

// files are those of full.
func files() map[string]string {
	return map[string]string{
		"/etc/hostname 0644":                             "node-1\n",
		"/etc/resolv.conf 0644":                          "search example.com\nnameserver 10.0.0.2\nnameserver fd00::2\n",
		"/etc/containerd/config.toml 0600":               "version = 3\n",
		"/etc/kios/environment.yaml 0600":                "environment:\n  HTTPS_PROXY: \"http://u:p@proxy\"\n",
		"/etc/kios/network.yaml 0644":                    "network",
		"/etc/kubernetes/azure.json 0600":                "{}",
		"/etc/kubernetes/cloud-provider 0644":            "external\n",
		"/etc/kubernetes/kubelet-flags 0644":             "--v=2\n--housekeeping-interval=20s\n",
		"/etc/kubernetes/node-ip 0644":                   "10.0.0.1\n",
		"/etc/kubernetes/node-labels 0644":               "a: b\nc: d\nnode.kubernetes.io/instance-type: m5.large\ntopology.kubernetes.io/region: eu-1\ntopology.kubernetes.io/zone: mine\n",
		"/etc/kubernetes/pki/ca.crt 0644":                "CA",
		"/etc/kubernetes/config.d/60-metadata.yaml 0644": "apiVersion: kubelet.config.k8s.io/v1beta1\nclusterDNS:\n- 10.96.0.10\nkind: KubeletConfiguration\nmaxPods: 20\nproviderID: aws:///a/i-1\n",
		"/etc/kubernetes/bootstrap-kubelet.conf 0600":    "*",
		"/run/cluster-api/placeholder 0644":              "",
	}
}

var network = want.File{Path: "/etc/kios/network.yaml", Content: []byte("network")}

func TestApply(t *testing.T) {
	n := newNode(t)
	n.apply(machine, full(), cluster, network)
	n.has(files())
	n.said(`the flag "--x" of the kubelet is left out`, "a kubelet may not give itself the label node-role.kubernetes.io/x")
	if last := n.Written[len(n.Written)-1]; last != bootstrapPath {
		t.Errorf("the last file is %s", last)
	}
	text := lab.ReadFile(t, filepath.Join(n.root, bootstrapPath))
	for _, want := range []string{"server: https://lb:6443", "certificate-authority: /etc/kubernetes/pki/ca.crt", "token: " + token} {
		if !strings.Contains(text, want) {
			t.Errorf("the kubeconfig has no %s:\n%s", want, text)
		}
	}
	if text := lab.ReadFile(t, filepath.Join(n.root, "run/kios/metadata.json")); !strings.Contains(text, `"instanceID": "i-1"`) {
		t.Errorf("metadata.json: %s", text)
	}
	r, err := instance.Load(n.root)
	if err != nil || r.Machine != "i-1" || r.UUID != board || len(r.Files) != len(files())+1 {
		t.Errorf("the record is %+v, %v", r, err)
	}
}

// Nothing is written that is so already, the record included.
func TestApplyAgain(t *testing.T) {
	n := newNode(t)
	n.apply(machine, full(), cluster, network)
	state := filepath.Join(n.root, instance.File)
	before, err := os.Stat(state)
	lab.Must(t, err)
	n.apply(machine, full(), cluster, network)
	after, err := os.Stat(state)
	lab.Must(t, err)
	if len(n.Written)+len(n.Removed) > 0 || !os.SameFile(before, after) {
		t.Errorf("written: %q, removed: %q, record: %v", n.Written, n.Removed, os.SameFile(before, after))
	}
	n.has(files())
	lab.Must(t, os.RemoveAll(filepath.Join(n.root, "run"))) // as at each boot
	lab.Must(t, os.Remove(filepath.Join(n.root, "etc/hostname")))
	lab.Must(t, os.Chmod(filepath.Join(n.root, "etc/kubernetes/azure.json"), 0o644))
	n.apply(machine, full(), cluster, network)
	if diff := cmp.Diff([]string{"/etc/hostname", "/run/kios/metadata.json", "/etc/kubernetes/azure.json", "/run/cluster-api/placeholder"}, n.Written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

func TestWhatIsNotWantedGoes(t *testing.T) {
	n := newNode(t)
	n.write("/etc/hosts", "theirs\n")
	w := full()
	w.Files = append(w.Files, want.File{Path: "/etc/hosts", Content: []byte("ours\n")})
	n.apply(machine, w, cluster, network)
	n.write("/etc/kubernetes/kubelet-flags", "edited")
	n.apply(want.Machine{ID: "i-1"}, want.Node{}, nil)
	n.has(map[string]string{"/etc/hosts 0644": "theirs\n", "/etc/kubernetes/kubelet-flags 0644": "edited"})
	n.said("/etc/kubernetes/kubelet-flags was changed since")
	if target, err := os.Readlink(filepath.Join(n.root, "etc/resolv.conf")); err != nil || target != "../run/kios/network/resolv.conf" {
		t.Errorf("resolv.conf is %s, %v", target, err)
	}
	n.apply(machine, full(), cluster, network)
	n.said("--x", "may not give itself", "/etc/kubernetes/kubelet-flags is left alone")
}

// A mistake in user data does not take the node out of its cluster at the next boot.
func TestMistakesRemoveNothing(t *testing.T) {
	n := newNode(t)
	n.apply(machine, full(), cluster, network)
	n.apply(machine, want.Node{Hostname: "Node-1", Partial: true}, nil)
	labels := "/etc/kubernetes/node-labels 0644"
	all := files()
	all[labels] = lab.ReadFile(t, filepath.Join(n.root, "etc/kubernetes/node-labels"))
	n.has(all)
	if w := full(); len(n.Removed) > 0 || !Settled(n.root, &machine, &w) {
		t.Errorf("removed %q, or the node is to join once more", n.Removed)
	}
}

// User data that cannot be read at all, or are on a disc that is gone, say nothing of the
// files that they asked for, and of those to which they had something to add.
func TestUnknownUserDataChangeNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		machine func(*want.Machine)
		node    want.Node
		said    []string
	}{
		"unread": {func(*want.Machine) {}, want.Node{Unread: true, Partial: true}, nil},
		"gone":   {func(m *want.Machine) { m.Gone = true }, want.Node{}, []string{"the disc with the user data is not there any more"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.apply(machine, full(), cluster, network)
			m := machine
			tt.machine(&m)
			m.Hostname, m.Type = "other", "large"
			n.apply(m, tt.node, nil)
			n.said(tt.said...)
			n.has(files())
			metadata := lab.ReadFile(t, filepath.Join(n.root, "run/kios/metadata.json"))
			if w := full(); !strings.Contains(metadata, "large") || len(n.Removed) > 0 || !Settled(n.root, &machine, &w) {
				t.Errorf("removed %q, or the node is to join once more: %s", n.Removed, metadata)
			}
			// Of a machine that has nothing yet, all that is known is written.
			fresh := newNode(t)
			fresh.apply(m, tt.node, nil)
			if name := lab.ReadFile(t, filepath.Join(fresh.root, "etc/hostname")); name != "other\n" {
				t.Errorf("a new machine is called %q", name)
			}
		})
	}
}

func TestLinesAreBounded(t *testing.T) {
	labels := map[string]string{}
	for i := range 1000 {
		labels[fmt.Sprint("-", i)] = ""
	}
	n := newNode(t)
	n.apply(machine, want.Node{Labels: labels}, nil)
	if len(n.Lines) != maxLines+1 {
		t.Errorf("a thousand labels with mistakes are %d lines", len(n.Lines))
	}
}

// What the metadata had is remembered, also if nothing else changes.
func TestHadIsRemembered(t *testing.T) {
	n := newNode(t)
	n.apply(machine, want.Node{}, nil)
	m := machine
	m.Had = []string{"/latest/user-data"}
	for range 2 {
		n.apply(m, want.Node{}, nil)
		if r, err := instance.Load(n.root); err != nil || !slices.Equal(r.Had, m.Had) {
			t.Errorf("the record has %q, %v", r.Had, err)
		}
	}
	n.apply(machine, want.Node{}, nil)
	if r, err := instance.Load(n.root); err != nil || r.Had != nil {
		t.Errorf("the record has %q, %v", r.Had, err)
	}
}

func TestFilesOfTheUserStay(t *testing.T) {
	n := newNode(t)
	n.write("/etc/hostname", "mine")
	n.write("/etc/kubernetes/bootstrap-kubelet.conf", "mine")
	n.write("/etc/kubernetes/azure.json", "mine")
	n.write("/etc/kubernetes/cloud-provider", "external\n") // which says the same
	lab.Must(t, os.Remove(filepath.Join(n.root, "etc/resolv.conf")))
	n.write("/etc/resolv.conf", "mine")
	w := full()
	w.Flags, w.Labels = []string{"--cloud-provider=external"}, nil
	n.apply(machine, w, cluster)
	n.said("/etc/hostname is left alone", "/etc/resolv.conf is left alone", "/etc/kubernetes/bootstrap-kubelet.conf is left alone")
	for path, want := range map[string]string{"hostname": "mine", "resolv.conf": "mine", "kubernetes/bootstrap-kubelet.conf": "mine", "kubernetes/azure.json": "{}"} {
		if got := lab.ReadFile(t, filepath.Join(n.root, "etc", path)); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	n.apply(machine, want.Node{}, nil)
	for path, want := range map[string]string{"hostname": "mine", "kubernetes/azure.json": "mine", "kubernetes/cloud-provider": "external\n"} {
		if got := lab.ReadFile(t, filepath.Join(n.root, "etc", path)); got != want {
			t.Errorf("%s is %q afterwards, want %q", path, got, want)
		}
	}
}

// An authority that is there for who looks at the pods, as that of kios run, is in nobody's
// way: the kubeconfig would not work with it. It comes back with the node.
func TestAuthorityGivesWay(t *testing.T) {
	n := newNode(t)
	path := "etc/kubernetes/pki/ca.crt"
	n.write("/"+path, "kios run's")
	n.apply(machine, full(), cluster)
	if got := lab.ReadFile(t, filepath.Join(n.root, path)); got != files()["/"+path+" 0644"] {
		t.Errorf("the authority is %q, and the lines are %q", got, n.Lines)
	}
	n.apply(machine, want.Node{}, nil)
	if got := lab.ReadFile(t, filepath.Join(n.root, path)); got != "kios run's" {
		t.Errorf("the authority is %q afterwards", got)
	}
	n = newNode(t)
	n.write("/"+path, "mine")
	n.write("/etc/kubernetes/kubelet.conf", "mine, with that authority")
	n.apply(machine, full(), cluster)
	n.said("--x", "may not give itself", "/"+path+" is left alone")
}

// Files that nobody has named give way to all others.
func TestDefaults(t *testing.T) {
	n := newNode(t)
	n.write("/etc/kubernetes/credential-providers.yaml", "the user's")
	wanted := want.Node{Files: []want.File{
		{Path: "/etc/kios/time.yaml", Content: []byte("named"), Mode: 0o600},
		{Path: "/etc/kios/time.yaml", Content: []byte("default"), Default: true},
		{Path: "/etc/kios/network.yaml", Content: []byte("default"), Default: true},
		{Path: "/etc/kios/disk.yaml", Content: []byte("default"), Default: true},
		{Path: "/etc/kubernetes/credential-providers.yaml", Content: []byte("default"), Default: true},
	}}
	n.apply(want.Machine{Provider: "ec2", ID: "i-1"}, wanted, nil, want.File{Path: "/etc/kios/network.yaml", Content: []byte("of the network")})
	n.has(map[string]string{
		"/etc/kios/time.yaml 0600":                       "named",
		"/etc/kios/network.yaml 0644":                    "of the network",
		"/etc/kios/disk.yaml 0644":                       "default",
		"/etc/kubernetes/credential-providers.yaml 0644": "the user's",
	})
}

func TestAppend(t *testing.T) {
	n := newNode(t)
	n.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 kios-1 # this node, kept by kiOS\n")
	w := want.Node{Files: []want.File{
		{Path: "/etc/hosts", Content: []byte("10.0.0.1 a\n"), Append: true},
		{Path: "/etc/new", Content: []byte("1"), Append: true},
		{Path: "/etc/hosts", Content: []byte("10.0.0.2 b\n"), Append: true},
	}}
	const ours = "127.0.0.1 localhost\n10.0.0.1 a\n10.0.0.2 b\n"
	n.apply(machine, w, nil)
	hosts := func(name string) map[string]string {
		return map[string]string{"/etc/hosts 0644": ours + "127.0.1.1 " + name + " # this node, kept by kiOS\n", "/etc/new 0644": "1", "/etc/kubernetes/node-labels 0644": "*", "/etc/hostname 0644": "*"}
	}
	n.has(hosts("kios-1"))
	// PID 1 keeps its own line in it.
	n.write("/etc/hosts", ours+"127.0.1.1 node-1 # this node, kept by kiOS\n")
	n.apply(machine, w, nil)
	n.has(hosts("node-1"))
	if len(n.Written) > 0 {
		t.Errorf("written at the next boot: %q", n.Written)
	}
	n.apply(machine, want.Node{}, nil)
	if got := lab.ReadFile(t, filepath.Join(n.root, "etc/hosts")); strings.Contains(got, "10.0.0.1") {
		t.Errorf("afterwards, /etc/hosts is %q", got)
	}
}

func TestNamedFilesThatCannotBe(t *testing.T) {
	n := newNode(t)
	lab.Must(t, unix.Mkfifo(filepath.Join(n.root, "etc/fifo"), 0o600))
	n.write("/run/file", "x")
	lab.Must(t, os.Symlink("kubernetes", filepath.Join(n.root, "etc/link")))
	var w want.Node
	for _, path := range []string{"/etc/passwd/x", "/usr/bin/x", "/etc/../x", "relative", "/etc/kubernetes", "/etc/fifo", "/etc/link/x", "/run/kios/x", "/run/file/x", "/etc/" + strings.Repeat("x", 250), "/etc/good"} {
		w.Files = append(w.Files, want.File{Path: path, Content: []byte("x")})
	}
	w.Files = append(w.Files, want.File{Path: "/etc/large", Content: make([]byte, 2<<20)})
	n.write("/etc/passwd", "x")
	n.apply(want.Machine{}, w, nil)
	n.said("/run/kios is the node's own", "no more are read on a node", "/etc/passwd/x is not in a directory", `"/usr/bin/x" is not a file below`, `"/etc/../x"`, `"relative"`,
		"/etc/kubernetes is a directory", "/etc/link/x is not in a directory", "/run/file/x is not in a directory", "too long", "/etc/fifo is left alone")
	if got := lab.ReadFile(t, filepath.Join(n.root, "etc/good")); got != "x" {
		t.Errorf("the good file is %q", got)
	}
}

func TestJoins(t *testing.T) {
	const conf = "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'https://a'}}]\nusers: [{name: a, user: {token: %s}}]\n"
	for name, tt := range map[string]struct {
		join want.Join
		path string // "" for none
		has  string
	}{
		"a token file":         {want.Join{Server: "https://a", CA: []byte("CA"), TokenFile: "/run/kios/aws/token"}, kubeletPath, "tokenFile: /run/kios/aws/token"},
		"a plain token":        {want.Join{Server: "https://a", CA: []byte("CA"), Token: "eyJ"}, kubeletPath, "token: eyJ"},
		"a bootstrap token":    {want.Join{Server: "https://a", CA: []byte("CA"), Token: token}, bootstrapPath, token},
		"a kubeconfig":         {want.Join{Kubeconfig: []byte(fmt.Sprintf(conf, "eyJ"))}, kubeletPath, "eyJ"},
		"a kubeconfig to boot": {want.Join{Kubeconfig: []byte(fmt.Sprintf(conf, token))}, bootstrapPath, token},
		"no kubeconfig":        {want.Join{Kubeconfig: []byte("x: [")}, "", ""},
		"a large kubeconfig":   {want.Join{Kubeconfig: []byte(fmt.Sprintf(conf, token) + "x: [" + strings.Repeat("1,", 200_000) + "]\n")}, "", ""},
		"nothing":              {want.Join{Server: "https://a", CA: []byte("CA")}, "", ""},
		"not asked yet":        {want.Join{Server: "https://a", Token: token}, "", ""},
	} {
		n := newNode(t)
		n.apply(want.Machine{ID: "i-1"}, want.Node{Join: &tt.join}, nil)
		for _, path := range kubeconfigs {
			text, err := os.ReadFile(filepath.Join(n.root, path))
			if (err == nil) != (path == tt.path) || err == nil && !strings.Contains(string(text), tt.has) {
				t.Errorf("%s: %s has %q, %v; lines %q", name, path, text, err, n.Lines)
			}
		}
	}
}

// A node that has been in its cluster does not need the API server at the next boot, and
// its token may have expired.
func TestSettled(t *testing.T) {
	n := newNode(t)
	w, m := full(), machine
	if Settled(n.root, &m, &w) {
		t.Error("a new node is settled")
	}
	n.apply(machine, w, nil, network)
	if Settled(n.root, &m, &w) {
		t.Error("a node that has not asked is settled")
	}
	n.apply(machine, w, cluster, network)
	if !Settled(n.root, &m, &w) {
		t.Error("a node that has asked is not settled")
	}
	n.apply(machine, w, nil, network) // the next boot
	n.has(files())
	if !Settled(n.root, &m, &w) {
		t.Error("at the next boot, the node is not settled")
	}
	other, otherMachine := full(), machine
	other.Join.Token, otherMachine.ID = "ghijkl.0123456789abcdef", "i-2"
	if Settled(n.root, &m, &other) || Settled(n.root, &otherMachine, &w) {
		t.Error("with another token, or in another machine, the node is settled")
	}
	lab.Must(t, os.Remove(filepath.Join(n.root, bootstrapPath)))
	if Settled(n.root, &m, &w) {
		t.Error("without its kubeconfig, the node is settled")
	}
}

func TestAnotherMachine(t *testing.T) {
	const other, many = "ec2b0000-1111-4222-8333-444455556666", "03000200-0400-0500-0006-000700080009"
	for name, tt := range map[string]struct {
		provider, id, uuid string
		weak, reset        bool
	}{
		"the same":                                   {"ec2", "i-1", board, false, false},
		"another id":                                 {"ec2", "i-2", board, false, true},
		"another board, same id":                     {"ec2", "i-1", other, false, false},
		"no id, the same board":                      {"ec2", "", board, false, false},
		"no id, and another board":                   {"ec2", "", other, false, true},
		"no id, and a UUID of many":                  {"ec2", "", many, false, false},
		"no id, and the UUID in another order":       {"ec2", "", "00002aec-1111-2242-8333-444455556666", false, false},
		"another id of a disk":                       {"ec2", "i-2", board, true, false},
		"another id of a disk, order":                {"ec2", "i-2", "00002aec-1111-2242-8333-444455556666", true, false},
		"another id of a disk, and board":            {"ec2", "i-2", other, true, true},
		"another id of a disk, and a UUID of many":   {"ec2", "i-2", many, true, true},
		"another provider":                           {"nocloud", "i-2", board, false, false},
		"another provider, and another board":        {"nocloud", "i-2", other, false, true},
		"another provider with that id, other board": {"nocloud", "i-1", other, false, true},
	} {
		n := newNode(t)
		n.write("/etc/mine", "stays")
		n.apply(machine, full(), cluster, network)
		n.write("/var/lib/kubelet/pki/kubelet-client-current.pem", "key")
		n.write(kubeletPath, "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem")
		n.write("/sys/class/dmi/id/product_uuid", tt.uuid)
		n.apply(want.Machine{Provider: tt.provider, ID: tt.id, WeakID: tt.weak}, want.Node{Files: []want.File{{Path: "/etc/new"}}}, nil)
		_, err := os.Stat(filepath.Join(n.root, "var/lib/kubelet/pki/kubelet-client-current.pem"))
		if n.Reset != tt.reset || (err != nil) != tt.reset {
			t.Errorf("%s: Reset = %v, the key: %v", name, n.Reset, err)
		}
		if tt.reset {
			n.has(map[string]string{"/etc/mine 0644": "stays", "/etc/new 0644": ""})
		}
		if r, err := instance.Load(n.root); err != nil || tt.id != "" && (r.Machine != tt.id || r.Provider != tt.provider) {
			t.Errorf("%s: the record is %+v, %v", name, r, err)
		}
	}
}

func TestHostname(t *testing.T) {
	for name, tt := range map[string]struct {
		machine, node, flag, want, line string
	}{
		"of the machine":    {"ip-1.ec2.internal", "", "", "ip-1.ec2.internal\n", ""},
		"of the user":       {"ip-1", "node-1", "node-2", "node-1\n", ""},
		"of a flag":         {"ip-1", "", "node-2", "node-2\n", ""},
		"none":              {"", "", "", "", ""},
		"not valid":         {"my_vm", "", "", "", `the name "my_vm" of the metadata is not used`},
		"of the user's bad": {"ip-1", "my_vm", "", "", `the name "my_vm" of the user data is not used`},
		"long":              {strings.Repeat("a.", 40), "", "", "", "of the metadata is not used"},
	} {
		n := newNode(t)
		w := want.Node{Hostname: tt.node}
		if tt.flag != "" {
			w.Flags = []string{"--hostname-override=" + tt.flag}
		}
		n.apply(want.Machine{Hostname: tt.machine}, w, nil)
		got, _ := os.ReadFile(filepath.Join(n.root, "etc/hostname"))
		if string(got) != tt.want || strings.Join(n.Lines, "") != "" != (tt.line != "") || tt.line != "" && !strings.Contains(n.Lines[0], tt.line) {
			t.Errorf("%s: %q, %q", name, got, n.Lines)
		}
	}
}

// Another name would make another node of one that its cluster knows.
func TestHostnameOfAMember(t *testing.T) {
	n := newNode(t)
	n.apply(want.Machine{ID: "i-1", Hostname: "a"}, want.Node{}, nil)
	n.write(kubeletPath, "server: x")
	n.apply(want.Machine{ID: "i-1", Hostname: "b"}, want.Node{}, nil)
	n.said("known to its cluster as a, and keeps that name; the metadata call it b")
	if got := lab.ReadFile(t, filepath.Join(n.root, "etc/hostname")); got != "a\n" {
		t.Errorf("the name is %q", got)
	}
}

// A member that has no /etc/hostname is known by the name that the kernel has.
func TestHostnameOfTheKernel(t *testing.T) {
	n := newNode(t)
	n.write(kubeletPath, "server: x")
	n.apply(want.Machine{ID: "i-1", Hostname: "other-than-here"}, want.Node{}, nil)
	n.said("and keeps that name; the metadata call it other-than-here")
}

// EKS knows the machine by what EC2 calls it: a name that the node had guessed has to go.
func TestHostnameOfEKS(t *testing.T) {
	n := newNode(t)
	w := want.Node{EKS: &want.EKS{Cluster: "c"}, Join: &want.Join{Server: "https://x", CA: []byte("CA"), TokenFile: "/run/kios/aws/token"}}
	for _, name := range []string{"ip-10-0-0-1.example.com", "ip-10-0-0-1.ec2.internal"} {
		w.Hostname = name
		n.apply(want.Machine{ID: "i-1"}, w, nil)
		n.said()
		if got := lab.ReadFile(t, filepath.Join(n.root, "etc/hostname")); got != name+"\n" {
			t.Errorf("the name is %q, want %q", got, name)
		}
	}
}

// PID 1 reads what was written, however long a value is.
func TestEnvironment(t *testing.T) {
	n := newNode(t)
	long := "localhost, " + strings.Repeat("10.0.0.0/8, ", 20) + "\u001b\"#\\ .svc"
	n.apply(machine, want.Node{Environment: map[string]string{"NO_PROXY": long, "a: b\nPATH": "x"}}, nil)
	n.said("is left out: that is no name")
	got, err := daemonenv.Read(filepath.Join(n.root, "etc", daemonenv.File), "containerd")
	if diff := cmp.Diff([]string{"NO_PROXY=" + long}, got); diff != "" || err != nil {
		t.Errorf("variables (-want +got):\n%s%v", diff, err)
	}
}

func TestSeveralTextsForContainerd(t *testing.T) {
	n := newNode(t)
	n.apply(want.Machine{}, want.Node{Containerd: []string{"a = 1\n", "a = 2\n"}}, nil)
	n.has(map[string]string{
		"/etc/containerd/config.toml 0600":         "version = 3\nimports = [\"/etc/containerd/metadata.d/*.toml\"]\n",
		"/etc/containerd/metadata.d/000.toml 0600": "a = 1\n",
		"/etc/containerd/metadata.d/001.toml 0600": "a = 2\n",
	})
}

// A power cut between the record and the files leaves files that are the pod's.
func TestInterrupted(t *testing.T) {
	n := newNode(t)
	n.write("/etc/kubernetes/azure.json", "theirs")
	n.apply(machine, full(), cluster, network)
	r, err := instance.Load(n.root)
	lab.Must(t, err)
	for path := range r.Files {
		r.Files[path] = ""
	}
	lab.Must(t, r.Save(n.root))
	n.write("/etc/kubernetes/azure.json", "theirs")
	n.write("/etc/hostname", "half")
	n.apply(machine, full(), cluster, network)
	n.has(files())
	n.apply(machine, want.Node{}, nil)
	if got := lab.ReadFile(t, filepath.Join(n.root, "etc/kubernetes/azure.json")); got != "theirs" {
		t.Errorf("what was there before is %q", got)
	}
}

func TestAwaitJoined(t *testing.T) {
	n := newNode(t)
	lab.Must(t, os.MkdirAll(filepath.Join(n.root, "var/lib/kubelet/pki"), 0o755))
	n.write(kubeletPath, "server: x\nclient-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n")
	w := want.Node{Joined: "/run/cluster-api/bootstrap-success.complete"}
	sentinel := filepath.Join(n.root, w.Joined)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := AwaitJoined(short, n.root, &w); err == nil {
		t.Error("AwaitJoined does not wait")
	}
	done := make(chan error)
	go func() { done <- AwaitJoined(t.Context(), n.root, &w) }()
	n.write("/var/lib/kubelet/pki/1.pem", "x")
	lab.Must(t, os.Symlink("1.pem", filepath.Join(n.root, "var/lib/kubelet/pki/new")))
	lab.Must(t, os.Rename(filepath.Join(n.root, "var/lib/kubelet/pki/new"), filepath.Join(n.root, "var/lib/kubelet/pki/kubelet-client-current.pem")))
	lab.Must(t, <-done)
	if got := lab.ReadFile(t, sentinel); got != "success\n" {
		t.Errorf("the sentinel is %q", got)
	}
	for _, path := range []string{"/etc/x", "/usr/x", "/run/../x"} {
		if err := AwaitJoined(t.Context(), n.root, &want.Node{Joined: path}); err == nil {
			t.Errorf("AwaitJoined writes %s", path)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add("/etc/a", "text", "--a=b", "key", "value", "name")
	f.Add("/etc/../a", "text", "--node-labels=a=b,c", "a/b", "", "a_b")
	f.Add("/run/kios/x", "\x00", "--node-ip=::1", "topology.kubernetes.io/zone", "\n", "\xff")
	f.Fuzz(func(t *testing.T, path, text, flag, key, value, name string) {
		root := t.TempDir()
		lab.WriteFile(t, filepath.Join(root, "outside"), "stays")
		m := want.Machine{ID: name, Hostname: name, Zone: value, ProviderID: text}
		n := want.Node{Files: []want.File{{Path: path, Content: []byte(text)}, {Path: path, Content: []byte(text), Append: true}}, Flags: []string{flag},
			Labels: map[string]string{key: value}, Environment: map[string]string{key: value}, Containerd: []string{text}}
		if _, err := Apply(root, &m, &n, nil); err != nil {
			return
		}
		again, err := Apply(root, &m, &n, nil)
		if err != nil || len(again.Written)+len(again.Removed) > 0 {
			t.Errorf("the second time: %+v, %v", again, err)
		}
		if lab.ReadFile(t, filepath.Join(root, "outside")) != "stays" {
			t.Error("a file outside has changed")
		}
	})
}
