//go:build cluster

package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/host/gobuild"
	"kios/host/progress"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// TestKubeadm does what docs/joining.md shows for clusters of kubeadm. kubeadm has
// made the keys, the flags of the control plane, and who may do what; the programs
// run as processes, where kubeadm would have its kubelet run them as static pods.
func TestKubeadm(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := bareEnv(t, newest(t))
	k := newKubeadm(e)
	u := e.admin(t)
	u.namespace = "kube-system" // of what kubeadm puts into the cluster, and of the probe
	k.startControlPlane(u)

	n := e.prepare(setup{name: "node-1", files: clusterconfig.Files{}, etc: noNetwork, memory: 768})
	printed := k.run("token", "create", "--print-join-command", "--kubeconfig=/etc/kubernetes/admin.conf")
	arguments, found := strings.CutPrefix(strings.TrimSpace(printed), "kubeadm join ")
	if !found {
		t.Fatalf("kubeadm token create prints %q, want kubeadm join and its arguments", printed)
	}
	e.shell(t)("kios image --join "+arguments+" --node-name "+n.name+" node.img\n", n)
	if got := u.field("service/kube-dns", "{.spec.clusterIP}"); got != "10.96.0.10" {
		t.Errorf("the DNS service of kubeadm is %s, and the docs say that it is 10.96.0.10", got)
	}
	n.start(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")

	// Nobody approves its serving certificate, and the API server does not mind.
	pending := pendingServing(u, n)
	u.demand(n.probe(t, "cat", "/etc/hostname"), n.name)
	u.kubectl("logs", "probe-"+n.name)
	u.kubectl(append([]string{"certificate", "approve"}, pending...)...)
	u.eventually("a certificate of the cluster's", func() error {
		_, err := e.curl("--cacert", u.file("ca.crt", e.ca), "https://"+n.address+":10250/healthz")
		return err
	})
	n.powerOff(t)
}

// kubeadmHost is a control plane's host as kubeadm sees it: a directory to which it,
// and what it has configured, is confined.
type kubeadmHost struct {
	env  *env
	root string
}

const kubeadmConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: ` + gateway + `, bindPort: 6443}
nodeRegistration: {name: control-plane, criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
networking: {podSubnet: 10.244.0.0/16}
apiServer: {certSANs: [127.0.0.1]} # for forward
kubernetesVersion: `

func newKubeadm(e *env) *kubeadmHost {
	t := e.t
	t.Helper()
	k := &kubeadmHost{env: e, root: filepath.Join(e.dir, "control-plane")}
	bin, err := gobuild.Build(t.Context(), progress.New(os.Stderr), lab.Root(t), gobuild.Target{Arch: arch.Host()}, gobuild.Kubeadm)
	lab.Must(t, err)
	lab.WriteFile(t, filepath.Join(k.root, "kubeadm.yaml"), kubeadmConfig+e.products.Kubernetes+"\n")
	lab.Must(t, os.Mkdir(filepath.Join(k.root, "tmp"), 0o755))
	lab.Run(t, "cp", bin, e.products.Bin["etcd"], e.products.Bin["kubernetes"], k.root)
	for _, phase := range [][]string{{"certs", "all"}, {"kubeconfig", "all"}, {"etcd", "local"}, {"control-plane", "all"}} {
		k.phase(phase...)
	}
	lab.WriteFile(t, e.kubeconfig(), k.read("admin.conf"))
	e.ca = k.read("pki/ca.crt")
	return k
}

// read returns a file that kubeadm has made.
func (k *kubeadmHost) read(name string) string {
	k.env.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.root, "etc/kubernetes", name))
	lab.Must(k.env.t, err)
	return string(text)
}

func (k *kubeadmHost) run(args ...string) string {
	k.env.t.Helper()
	return lab.Run(k.env.t, "ip", append([]string{"netns", "exec", k.env.name, "chroot", k.root, "/kubeadm"}, args...)...)
}

func (k *kubeadmHost) phase(phase ...string) {
	k.env.t.Helper()
	k.run(slices.Concat([]string{"init", "phase"}, phase, []string{"--config=/kubeadm.yaml"})...)
}

// startControlPlane runs what kubeadm's manifests of static pods say, and then
// has kubeadm put into the cluster what nodes need.
func (k *kubeadmHost) startControlPlane(u *user) {
	u.t.Helper()
	k.start("etcd")
	k.start("kube-apiserver")
	u.eventually("the API server", func() error { _, err := u.try("get", "--raw=/readyz"); return err })
	k.start("kube-controller-manager")
	k.start("kube-scheduler")
	for _, phase := range [][]string{{"upload-config", "all"}, {"bootstrap-token"}, {"addon", "coredns"}} {
		k.phase(phase...)
	}
}

func (k *kubeadmHost) start(name string) {
	t := k.env.t
	t.Helper()
	text := k.read("manifests/" + name + ".yaml")
	var pod struct {
		Spec struct{ Containers []struct{ Command []string } }
	}
	if err := yaml.Unmarshal([]byte(text), &pod); err != nil || len(pod.Spec.Containers) != 1 {
		t.Fatalf("the manifest of %s: %v\n%s", name, err, text)
	}
	command := pod.Spec.Containers[0].Command
	program := []string{"/kubernetes", name}
	if name == "etcd" {
		program = []string{"/etcd"}
	}
	netns.Start(t, k.env.name, nil, slices.Concat([]string{"chroot", k.root}, program, command[1:])...)
}
