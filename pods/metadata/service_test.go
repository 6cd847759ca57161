package metadata

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"kios/pods/console"
	"kios/pods/metadata/netdata"
	"kios/pods/metadata/provider"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

// Each mistake is one line that says what it is about, once.
func TestMistakes(t *testing.T) {
	got := mistakes(errors.Join(errors.New("user data, part 2: cloud-config: a"), errors.New("NodeConfig: b"), errors.New("network data: c")))
	const want = "user data, part 2: cloud-config: a\nuser data: NodeConfig: b\nnetwork data: c"
	if got.Error() != want || mistakes(nil) != nil {
		t.Errorf("%q, want %q", got, want)
	}
	if n := strings.Count(mistakes(errors.New(strings.Repeat("x\n", 1000))).Error(), "\n"); n != maxMistakes {
		t.Errorf("a thousand mistakes are %d lines", n+1)
	}
}

// readHere makes what user data and network data ask for below a root, and returns what the
// log and the console say of it.
func readHere(t *testing.T, m *want.Machine) (root, said, shown string, err error) {
	t.Helper()
	root = t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "etc/x"), "")
	lab.WriteFile(t, filepath.Join(root, "run/x"), "")
	l, err := net.Listen("unix", filepath.Join(root, "run/system.sock"))
	lab.Must(t, err)
	defer l.Close()
	text, records := &lab.Buffer{}, &lab.Buffer{}
	s := &Service{Root: root, Log: log.New(text, "", 0), Console: console.New(records, "metadata")}
	err = (&reading{Service: s, machine: m, node: new(want.Node)}).run(t.Context(), &provider.Found{})
	return root, text.String(), records.String(), err
}

// Who looks at the console of a node that does not join sees why.
func TestConsole(t *testing.T) {
	user := "#cloud-config\nntp: 7\nwrite_files: [{path: /etc/kubernetes/x, content: y}, {path: /opt/x, content: x}]\n"
	for i := range 20 {
		user += fmt.Sprintf("unknown%02d: 1\n", i)
	}
	root, said, shown, err := readHere(t, &want.Machine{
		Zone: strings.Repeat("z", 64), UserData: []byte(user), Network: &want.Network{Format: netdata.OpenStack, Text: []byte("{\n\"links\": [\n}")},
	})
	for _, mistake := range []string{"user data: cloud-config: ntp: ", "network data: read them: line 3, column 1: "} {
		if !strings.Contains(said, mistake) || !strings.Contains(shown, "<3>kios: error: pod metadata: "+mistake) || err == nil || !strings.Contains(err.Error(), mistake) {
			t.Errorf("%s: the log says\n%s\nand the console\n%s\nerror %v", mistake, said, shown, err)
		}
	}
	for _, left := range []string{`not done: file "/opt/x": `, "a label is left out: "} {
		if !strings.Contains(said, left) || !strings.Contains(shown, "<4>kios: warning: pod metadata: "+left) {
			t.Errorf("%s: the log says\n%s\nand the console\n%s", left, said, shown)
		}
	}
	if strings.Count(said, "unknown") != 20 || strings.Count(shown, "unknown") != maxNamed-1 || !strings.Contains(shown, "not done: 9 more, ") {
		t.Errorf("the log says\n%s\nand the console\n%s", said, shown)
	}
	lab.ReadFile(t, filepath.Join(root, "etc/kubernetes/x")) // all else is done
}

// What is wrong with a source is on the console, too.
func TestConsoleOfSources(t *testing.T) {
	records := &lab.Buffer{}
	s := &Service{Root: t.TempDir(), Log: log.New(t.Output(), "", 0), Console: console.New(records, "metadata")}
	s.aloud().Print("it waits")
	ctx, cancel := context.WithCancel(t.Context())
	if s.report(ctx, errors.New("kios.config= is not used")); !strings.Contains(records.String(), "<3>kios: error: pod metadata: kios.config= is not used\n") {
		t.Errorf("the console shows\n%s", records)
	}
	cancel()
	if err := s.report(t.Context(), errors.New("abcdef.0123456789abcdef is bad")); err.Error() != "abcdef.*** is bad" {
		t.Errorf("the program writes into the log: %v", err)
	}
	lab.Must(t, s.report(ctx, nil))
	_ = s.report(ctx, errors.New("the pod ends"))
	if strings.Contains(records.String(), "the pod ends") || !strings.Contains(records.String(), "<4>kios: warning: pod metadata: it waits\n") {
		t.Errorf("the console shows\n%s", records)
	}
}

// eksParts are a NodeConfig with a cluster, one with a mistake, and cloud-config with a name.
const eksParts = `Content-Type: multipart/mixed; boundary=B

--B

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster: {name: a, apiServerEndpoint: 'https://a.example.com', certificateAuthority: CA, cidr: 10.0.0.0/16}
  featureGates: {InstanceIdNodeName: true}
--B

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec: [
--B

#cloud-config
hostname: named
--B--
`

// A node of EKS whose user data name it says so, as the cluster may refuse it. A NodeConfig
// with a mistake does not keep another one from making a node of its cluster.
func TestNameOfNodeOfEKS(t *testing.T) {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	user := strings.Replace(eksParts, "CA", base64.StdEncoding.EncodeToString(ca), 1)
	root, said, shown, err := readHere(t, &want.Machine{ID: "i-1", UserData: []byte(user)})
	const line = "not done: the name by which EKS knows an instance is not used, as the user data or the firmware call the node named: "
	if !strings.Contains(said, line) || !strings.Contains(shown, "<4>kios: warning: pod metadata: "+line) {
		t.Errorf("the log says\n%s\nand the console\n%s", said, shown)
	}
	if err == nil || !strings.Contains(err.Error(), "user data, part 2: a NodeConfig: ") {
		t.Errorf("the mistake is %v", err)
	}
	if text := lab.ReadFile(t, filepath.Join(root, "etc/kubernetes/kubelet.conf")); !strings.Contains(text, "https://a.example.com") {
		t.Errorf("kubelet.conf is\n%s", text)
	}
}

// What a proxy or a service says in place of user data takes no file of theirs away.
func TestPagesInPlaceOfUserData(t *testing.T) {
	for _, page := range []string{"503 Service Unavailable\n", `{"error": "try later"}`, "{", "\x1f\x8b", "Service: x\nContent-Type: none\n\nx"} {
		root, _, _, err := readHere(t, &want.Machine{ID: "i-1", UserData: []byte("#cloud-config\nhostname: b\nwrite_files: [{path: /etc/kubernetes/x, content: text}]\n")})
		lab.Must(t, err)
		s := &Service{Root: root, Log: log.New(t.Output(), "", 0)}
		err = (&reading{Service: s, machine: &want.Machine{ID: "i-1", Hostname: "c", UserData: []byte(page)}, node: new(want.Node)}).run(t.Context(), &provider.Found{})
		if err == nil || lab.ReadFile(t, filepath.Join(root, "etc/hostname")) != "b\n" || lab.ReadFile(t, filepath.Join(root, "etc/kubernetes/x")) != "text" {
			t.Errorf("%q: %v; the node is called %q", page, err, lab.ReadFile(t, filepath.Join(root, "etc/hostname")))
		}
	}
}

// secret is in all values that can be one, with whatever makes parsers repeat it.
const secret = "Hush0123456789"

// What is wrong with user data is said without what is in them: more people see a console, or
// a log, than may read user data.
func TestNoSecrets(t *testing.T) {
	const token = "abcdef.hush012345678901"
	cloud := func(text string) string { return "#cloud-config\n" + text }
	for _, user := range []string{
		cloud("password: SECRET: x\n"),
		cloud("write_files: [{path: /etc/kubernetes/x, content: {SECRET: 1}}]\n"),
		cloud("write_files: [{path: /etc/kubernetes/x, content: SECRET, encoding: gz+b64}]\n"),
		cloud("write_files: [{path: /etc/kubernetes/x, content: '*SECRET', encoding: b64}]\n"),
		cloud("write_files: 'SECRET'\n"), cloud("chpasswd: SECRET\n"), cloud("ntp: {servers: {SECRET: 1}}\n"),
		cloud("a: {{ SECRET: 1 }: SECRET}\n"), cloud("a: *SECRET\n"), cloud("? [SECRET]\n: SECRET\n"),
		cloud("ca_certs: {trusted: [SECRET]}\n"), cloud("hostname: {SECRET: 1}\n"), cloud("a: !!binary SECRET*\n"), cloud("a: !!int SECRET\n"), cloud("a: !!float 'SECRET'\n"),
		cloud("runcmd: [echo SECRET > /SECRET, [curl, SECRET], 'kubeadm join SECRET --token $SECRET', 'kubeadm join a:1 --token SECRET --discovery-token-ca-cert-hash x']\n"),
		cloud("runcmd: ['kubeadm join https://u:SECRET@a:1 --token TOKEN --discovery-token-ca-cert-hash sha256:x']\n"),
		cloud("runcmd: ['kubeadm join a:1 --token TOKEN --discovery-token-unsafe-skip-ca-verification --discovery-file /run/x']\n"),
		cloud("write_files: [{path: /run/j, content: 'SECRET: [SECRET'}]\nruncmd: [kubeadm join --config /run/j]\n"),
		cloud("write_files: [{path: /run/j, content: '{apiVersion: kubeadm.k8s.io/v1beta4, kind: JoinConfiguration, discovery: {tlsBootstrapToken: TOKENx}}'}]\nruncmd: [kubeadm join --config /run/j]\n"),
		cloud("write_files: [{path: /run/j, content: '{apiVersion: kubeadm.k8s.io/v1beta4, kind: JoinConfiguration, discovery: {file: {kubeConfigPath: /run/k}}}'}, {path: /run/k, content: '{users: [{name: x, user: {token: SECRET, client-key-data: [SECRET]}}]}'}]\nruncmd: [kubeadm join --config /run/j]\n"),
		`{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/etc/kubernetes/x", "contents": {"source": "data:;base64,*SECRET"}}]}}`,
		`{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/etc/kubernetes/x", "contents": {"source": "data:,%zzSECRET"}}]}}`,
		`{"ignition": {"version": "3.0.0"}, "storage": {"files": [{"path": "/etc/kubernetes/x", "contents": {"source": "SECRET"}}]}}`,
		`{"ignition": {"version": "3.0.0"}, "passwd": "SECRET"}`, `{"ignition": {"version": "3.0.0"} SECRET}`, `{"ignition": SECRET}`, `{"a": SECRET`,
		"apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: a, apiServerEndpoint: 'https://u:SECRET@h', certificateAuthority: SECRET, cidr: 10.0.0.0/8}}\n",
		"apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {kubelet: {flags: {SECRET: 1}, config: SECRET}, instance: {environment: {default: SECRET}}}\n",
		"apiVersion: kios.redcoat.dev/v1alpha1\napiServer: {name: a, endpoint: 'https://u:SECRET@h', b64ClusterCA: SECRET}\nnode: {kubeletConfiguration: 'a: [SECRET'}\n",
		"Content-Type: multipart/mixed; boundary=B\n\n--B\nSECRET\n\n#!/bin/sh SECRET\n--B--\n",
		"Content-Type: multipart/mixed; boundary=B\nSECRET\n\n--B\n\nSECRET\n--B--\n",
		"SECRET\n", "#include https://u:SECRET@h/?SECRET\n",
	} {
		user = strings.NewReplacer("SECRET", secret, "TOKEN", token).Replace(user)
		_, said, shown, err := readHere(t, &want.Machine{UserData: []byte(user)})
		all := said + shown
		if err != nil {
			all += err.Error()
		}
		if strings.Contains(strings.ToLower(console.Redact(said)+shown), "hush") {
			t.Errorf("%.200s\nthe log says\n%s\nand the console\n%s", user, said, shown)
		}
		if all == "" {
			t.Errorf("%.200s: nobody says anything", user)
		}
	}
}
