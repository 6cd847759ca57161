package metadata

import (
	"context"
	"errors"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kios/pods/metadata/aws"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/awslab"
)

// eksNode is a reading on a machine of EC2, which the lab is.
func eksNode(t *testing.T, dial aws.Dial) (*reading, *lab.Buffer) {
	t.Helper()
	root, said := t.TempDir(), &lab.Buffer{}
	lab.WriteFile(t, filepath.Join(root, "etc/x"), "")
	r := &reading{
		Service: &Service{Root: root, Log: log.New(said, "", 0), ec2Options: aws.Options{Dial: dial}},
		machine: &want.Machine{ID: "i-0123456789abcdef0", Hostname: "local.example", Region: "eu-central-1"},
		node:    new(want.Node),
	}
	lab.Must(t, eks.Join(r.node, "shop", "https://192.0.2.1", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BQT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="))
	r.ec2 = r.openEC2()
	return r, said
}

const kubeconfig = "etc/kubernetes/kubelet.conf"

// Everything but the kubeconfig is there while EC2 does not answer.
func TestFilesBeforeTheName(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	r, _ := eksNode(t, func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":443") {
			return nil, errors.New("it is out of reach")
		}
		return l.Dial(ctx, network, address)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.place(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("place ends: %v", err)
	}
	if text := lab.ReadFile(t, filepath.Join(r.Root, "etc/kubernetes/node-labels")); !strings.Contains(text, "eu-central-1") {
		t.Errorf("the labels are %q", text)
	}
	if _, err := os.Stat(filepath.Join(r.Root, kubeconfig)); err == nil {
		t.Error("the node joins without its name")
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("place ends without a name")
	}
}

// With the answer there is the kubeconfig, too. A name that was there before stays where EC2
// does not tell one.
func TestNameOfEC2(t *testing.T) {
	l := awslab.Local(t, awslab.Options{PrivateDNSName: "a.example"})
	r, said := eksNode(t, l.Dial)
	r.ec2Options.Roots = l.Roots()
	for _, denied := range [][]string{nil, {"ec2:DescribeInstances"}} {
		l.Change(func(o *awslab.Options) { o.Denied = denied })
		r.node.Hostname = ""
		if err := r.place(t.Context(), func() {}); err != nil {
			t.Fatalf("%v; the log says %s", err, said)
		}
		if name := lab.ReadFile(t, filepath.Join(r.Root, "etc/hostname")); name != "a.example\n" {
			t.Errorf("the node is called %q; the log says %s", name, said)
		}
		lab.ReadFile(t, filepath.Join(r.Root, kubeconfig))
	}
	r.machine.ID = "i-2"
	if name := r.nameBefore(); name != "" {
		t.Errorf("another machine was called %q before", name)
	}
}

// Who is named for its id asks nobody.
func TestNamedForID(t *testing.T) {
	r, said := eksNode(t, func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("it is out of reach") })
	r.node.EKS.InstanceIDName = true
	if err := r.place(t.Context(), func() {}); err != nil {
		t.Fatalf("%v; the log says %s", err, said)
	}
	if name := lab.ReadFile(t, filepath.Join(r.Root, "etc/hostname")); name != r.machine.ID+"\n" {
		t.Errorf("the node is called %q", name)
	}
	lab.ReadFile(t, filepath.Join(r.Root, kubeconfig))
}

// Bad user data are named again: nobody may have seen the first line.
func TestRemind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := &lab.Buffer{}
		r := &reading{Service: &Service{Log: log.New(said, "", 0)}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour+time.Minute)
		defer cancel()
		r.remind(ctx, errors.New("user data: line 3"))
		if n := strings.Count(said.String(), "user data: line 3\n"); n != 2 {
			t.Errorf("in two hours it says %q", said)
		}
	})
}

// A socket that cannot be is a line in the log.
func TestServeRegistries(t *testing.T) {
	r, said := eksNode(t, nil)
	lab.WriteFile(t, filepath.Join(r.Root, "run"), "")
	if !r.hasRegistries() {
		t.Error("a node of EKS gets no credentials")
	}
	r.serveRegistries(t.Context())
	if !strings.Contains(said.String(), "no credentials of registries") {
		t.Errorf("the log says %q", said)
	}
	r.node.EKS = nil
	if r.hasRegistries() {
		t.Error("a node without providers of this pod serves one")
	}
	lab.WriteFile(t, filepath.Join(r.Root, "var/lib/kios/metadata/state.json"), `{"files": {"/etc/kubernetes/credential-providers.yaml": ""}}`)
	if !r.hasRegistries() {
		t.Error("the providers that the pod has written get no answer")
	}
}

// What is read of the node is what is there at that time.
func TestOpenAfterFiles(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "")
	r, _ := eksNode(t, nil)
	dir := filepath.Join(r.Root, "etc/ssl/certs")
	if r.proxy() != nil || roots(dir) != nil {
		t.Error("there is a proxy, or a certificate")
	}
	l := awslab.Local(t, awslab.Options{})
	lab.WriteFile(t, filepath.Join(dir, "own.crt"), string(l.CA))
	if pool := roots(dir); pool == nil || !pool.Equal(l.Roots()) {
		t.Error("the certificate is not read")
	}
	r.node.Environment = map[string]string{"HTTPS_PROXY": "http://proxy.example:3128"}
	if r.proxy() == nil || os.Getenv("HTTPS_PROXY") != "http://proxy.example:3128" {
		t.Error("there is no proxy")
	}
}
