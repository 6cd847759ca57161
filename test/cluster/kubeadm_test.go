//go:build cluster

package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kios/host/clusterconfig"
	"kios/host/gobuild"
	"kios/host/progress"
	"kios/internal/discovery"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// TestKubeadm does what docs/joining.md shows for clusters of kubeadm. kubeadm has
// made the keys, the flags of the control plane, and who may do what; the programs
// run as processes, where kubeadm would have its kubelet run them as static pods.
func TestKubeadm(t *testing.T) {
	long(t)
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

// TestKubeadmDiscovery has the pod metadata ask a cluster of kubeadm for what a node needs,
// with no node: the controllers bootstrapsigner and tokencleaner of Kubernetes are the
// other side.
func TestKubeadmDiscovery(t *testing.T) {
	long(t)
	t.Parallel()
	e := bareEnv(t, newest(t))
	k := newKubeadm(e)
	u := e.admin(t)
	u.namespace = "kube-system"
	k.startControlPlane(u)
	server := e.forward(endpoint)
	token := strings.TrimSpace(k.run("token", "create", "--kubeconfig=/etc/kubernetes/admin.conf"))
	id, _, _ := strings.Cut(token, ".")

	for name, join := range map[string]want.Join{
		"by a hash":       {Server: server, Hashes: []string{hashOf(t, e.ca)}, Token: token, ClusterConfig: true},
		"by the token":    {Server: server, Token: token, ClusterConfig: true},
		"with the CA":     {Server: "https://" + server, CA: []byte(e.ca), Token: token, ClusterConfig: true},
		"by a kubeconfig": {Kubeconfig: []byte(strings.Replace(k.read("admin.conf"), endpoint, server, 1)), ClusterConfig: true},
	} {
		u.eventually("the cluster "+name, func() error { // the signature takes the controller a moment
			c, err := kubeadm.Resolve(t.Context(), &join)
			if err == nil && (string(c.CA) != e.ca || c.Kubelet["clusterDomain"] != "cluster.local" || c.Kubelet["shutdownGracePeriod"] != nil) {
				err = fmt.Errorf("Resolve = %+v", c)
			}
			return err
		})
	}
	c, err := kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: token})
	if err != nil || c.Server != "https://"+endpoint {
		t.Errorf("the cluster gives its nodes the address %+v, %v", c, err)
	}
	_, err = kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: id + ".0123456789abcdef"})
	if err == nil || !strings.Contains(err.Error(), "not by this token's secret") {
		t.Errorf("with another secret: %v", err)
	}
	k.run("token", "delete", id, "--kubeconfig=/etc/kubernetes/admin.conf")
	u.eventually("the end of the signature", func() error {
		_, err := kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: token})
		if err == nil || !strings.Contains(err.Error(), "or it has expired") {
			return fmt.Errorf("with a token that was deleted: %v", err)
		}
		return nil
	})
	_, err = kubeadm.Resolve(t.Context(), &want.Join{Server: server, Hashes: []string{hashOf(t, e.ca)}, Token: token, ClusterConfig: true})
	if !errors.Is(err, discovery.ErrRefused) {
		t.Errorf("with a token that was deleted, and a hash: %v", err)
	}
	var n want.Node
	if err := kubeadm.Read([]byte(k.run("config", "print", "join-defaults")), nil, &n); err != nil || n.Join == nil || len(n.Skipped) > 0 {
		t.Errorf("kubeadm's own example: %+v, %v", n, err)
	}
}

// hashOf is as kubeadm prints it.
func hashOf(t *testing.T, ca string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(ca))
	cert, err := x509.ParseCertificate(block.Bytes)
	lab.Must(t, err)
	return fmt.Sprintf("sha256:%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
}

// forward passes connections on to an address in the network of the cluster, and returns
// the address where it does.
func (e *env) forward(address string) string {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(e.t, err)
	e.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go e.pass(from, address)
		}
	}()
	return listener.Addr().String()
}

func (e *env) pass(from net.Conn, address string) {
	defer from.Close()
	to, err := netns.Dial(context.Background(), e.name, "tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
	io.Copy(from, to)
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
	bin, err := gobuild.Build(t.Context(), progress.New(os.Stderr), lab.Root(t), gobuild.Kubeadm)
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
