package joining

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// node is a root directory with the files of a node called node-1.
type node struct {
	Files
	t  *testing.T
	mu sync.Mutex
	// what was said
	log []string
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{t: t, Files: Files{
		Kubeconfig: filepath.Join(dir, "etc/kubelet.conf"),
		Bootstrap:  filepath.Join(dir, "etc/bootstrap-kubelet.conf"),
		CertDir:    filepath.Join(dir, "pki"),
		ClientCA:   filepath.Join(dir, "etc/pki/ca.crt"),
	}}
	n.must(os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	n.must(os.MkdirAll(n.CertDir, 0o700))
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) write(path, text string) {
	n.t.Helper()
	n.must(os.MkdirAll(filepath.Dir(path), 0o755))
	n.must(os.WriteFile(path, []byte(text), 0o600))
}

func (n *node) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, fmt.Sprintf(format, args...))
}

func (n *node) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.log, "\n")
}

// newCert returns a certificate that signs itself, and its key, in PEM.
func newCert(name string, end time.Duration) (cert, key string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(end), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		panic(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func config(server, ca, user string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n"+
		"clusters: [{name: a, cluster: {server: '%s'%s}}]\nusers: [{name: a, user: {%s}}]\n", server, ca, user)
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

const server = "https://10.0.0.1:6443"

// own is a kubeconfig as the kubelet writes it.
func (n *node) own() string {
	return config(server, "", "client-certificate: '"+n.current()+"', client-key: '"+n.current()+"'")
}

func bootstrapText() string { return config(server, "", "token: abcdef.0123456789abcdef") }

// issue puts a certificate where the kubelet keeps the one that it has got.
func (n *node) issue(name string, end time.Duration) {
	cert, key := newCert(name, end)
	n.write(n.current(), cert+key)
}

// Certificates of node-1: a good one, another one, and one that has expired.
var (
	ownCert, ownKey = newCert("system:node:node-1", time.Hour)
	otherCert, _    = newCert("system:node:node-1", time.Hour)
	oldCert, oldKey = newCert("system:node:node-1", -time.Minute)
)

// embedded is a kubeconfig with a certificate in it.
func embedded(cert, key string) string {
	return config(server, "", "client-certificate-data: "+encoded(cert)+", client-key-data: "+encoded(key))
}

// membership is what a test expects of a Membership.
type membership struct {
	Joined, Bootstrap, Waiting, Rotate bool
}

var (
	standalone    = membership{Rotate: true}
	joined        = membership{Joined: true, Rotate: true}
	bootstrapping = membership{true, true, true, true}
)

type prepareTest struct {
	name      string
	kubelet   string // the kubeconfig: OWN is as the kubelet writes it, TOKEN the path of a token
	bootstrap string
	issued    string // name in a certificate that the kubelet has
	want      membership
	log       string // "" for silence
	moved     string // file that is to be NAME.bad afterwards
}

var prepareTests = []prepareTest{
	{"nothing", "", "", "", standalone, "", ""},
	{"own certificate", embedded(ownCert, ownKey), "", "", joined, "", ""},
	{"token", config(server, "", "token: secret"), "", "", membership{Joined: true}, "", ""},
	{"token file", config(server, "", "tokenFile: 'TOKEN'"), "", "", membership{Joined: true}, "", ""},
	{"program", config(server, "", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true, interactiveMode: Never}"), "", "", membership{Joined: true}, "", ""},
	{"bootstrap", "", bootstrapText(), "", bootstrapping, "", ""},
	{"bootstrap under way", "OWN", bootstrapText(), "", bootstrapping, "", ""},
	{"bootstrapped", "OWN", bootstrapText(), "system:node:node-1", membership{true, true, false, true}, "", ""},
	{"bootstrapped, file gone", "OWN", "", "system:node:node-1", joined, "", ""},
	{"bootstrapped under another name", "OWN", bootstrapText(), "system:node:node-2", bootstrapping, "for a node named node-2", "pki/kubelet-client-current.pem"},
	{"a certificate of another name, kubeconfig gone", "", bootstrapText(), "system:node:node-2", bootstrapping, "for a node named node-2", "pki/kubelet-client-current.pem"},
	{"another name, and a kubeconfig for it", embedded(ownCert, ownKey), "", "system:node:node-2", joined, "for a node named node-2", "pki/kubelet-client-current.pem"},
	{"expired, and a certificate of another name", embedded(oldCert, oldKey), bootstrapText(), "system:node:node-2", bootstrapping, "for a node named node-2", "pki/kubelet-client-current.pem"},
	{"a certificate of this name, kubeconfig gone", "", bootstrapText(), "system:node:node-1", bootstrapping, "", ""},
	{"of another name for good", "OWN", "", "system:node:node-2", joined, "write node-2 into /etc/hostname", ""},
	{"certificate lost", "OWN", "", "", standalone, "has not been issued yet", ""},
	{"token and bootstrap", config(server, "", "token: secret"), bootstrapText(), "", membership{Joined: true}, "bootstrap-kubelet.conf is not used", ""},
	{"expired", embedded(oldCert, oldKey), "", "", joined, "expired at", ""},
	{"expired and renewed", embedded(oldCert, oldKey), "", "system:node:node-1", joined, "", ""},
	{"expired and renewed, bootstrap", embedded(oldCert, oldKey), bootstrapText(), "system:node:node-1", membership{true, true, false, true}, "", ""},
	{"expired, bootstrap", embedded(oldCert, oldKey), bootstrapText(), "", bootstrapping, "", ""},
	{"bad bootstrap beside a good one", embedded(ownCert, ownKey), "x: [", "", joined, "bootstrap-kubelet.conf is not used", ""},
	{"bad one beside a good bootstrap", "x: [", bootstrapText(), "", bootstrapping, "kept as kubelet.conf.bad", "etc/kubelet.conf"},

	{"empty", " \n", "", "", standalone, "kubelet.conf is not used: the file is empty", ""},
	{"garbage", "\x00\x01", "", "", standalone, "control characters", ""},
	{"not YAML", "clusters: [", "", "", standalone, "yaml", ""},
	{"list", "- a\n", "", "", standalone, "kubelet.conf is not used", ""},
	{"nothing in it", "apiVersion: v1\nkind: Config\n", "", "", standalone, "it names no cluster", ""},
	{"a pod", "apiVersion: v1\nkind: Pod\n", "", "", standalone, "Pod", ""},
	{"no server", config("", "", "token: a"), "", "", standalone, "server", ""},
	{"bad server", config("https://[::1", "", "token: a"), "", "", standalone, "[::1", ""},
	{"no context", strings.Replace(config(server, "", "token: a"), "current-context: a", "current-context: b", 1), "", "", standalone, "specified context: b", ""},
	{"no credentials", config(server, "", ""), "", "", standalone, "its user has no credentials", ""},
	{"missing CA", config(server, ", certificate-authority: /no/such", "token: a"), "", "", standalone, "/no/such", ""},
	{"bad CA", config(server, ", certificate-authority-data: "+encoded("x"), "token: a"), "", "", standalone, "root certificates", ""},
	{"CA cut off", config(server, ", certificate-authority-data: "+encoded(ownCert[:len(ownCert)/2]), "token: a"), "", "", standalone, "root certificates", ""},
	{"missing certificate", config(server, "", "client-certificate: /no/such, client-key: /no/such"), "", "", standalone, "/no/such", ""},
	{"key of another", embedded(otherCert, ownKey), "", "", standalone, "private key does not match", ""},
	{"certificate without key", config(server, "", "client-certificate-data: "+encoded(ownCert)), "", "", standalone, "client-key", ""},
	{"missing token file", config(server, "", "tokenFile: /no/such"), "", "", standalone, "/no/such", ""},
	{"token to be written", config(server, "", "tokenFile: /run/no/such"), "", "", standalone, "note: DIR/kubelet.conf waits for /run/no/such: the node joins when that is there", ""},
	{"CA to be written", config(server, ", certificate-authority: /run/no/such", "token: a"), "", "", standalone, "note: ", ""},
	{"token to be written, and bootstrap", config(server, "", "tokenFile: /run/no/such"), bootstrapText(), "", standalone, "note: ", ""},
	{"token to be written for bootstrap", "", config(server, "", "tokenFile: /run/no/such"), "", standalone, "note: ", ""},
	{"missing program", config(server, "", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such, interactiveMode: Never}"), "", "", standalone, "the program for its credentials", ""},
	{"bad bootstrap", "", "x: [", "", standalone, "bootstrap-kubelet.conf is not used", ""},
}

func TestPrepare(t *testing.T) {
	for _, tt := range prepareTests {
		t.Run(tt.name, tt.run)
	}
}

func (tt prepareTest) run(t *testing.T) {
	n := newNode(t)
	tt.layOut(n)
	m := n.Prepare("node-1", n.say)
	got := membership{m.Server != "", m.Bootstrap, m.Waiting, m.rotate}
	if diff := cmp.Diff(tt.want, got); diff != "" {
		t.Errorf("membership (-want +got):\n%s", diff)
	}
	// That its port has no CA is said in any case, and tested elsewhere.
	log := strings.Join(strings.FieldsFunc(n.said(), func(r rune) bool { return r == '\n' }), "\n")
	if i := strings.Index(log, "there is no "+n.ClientCA); i >= 0 {
		log = strings.TrimSpace(log[:i])
	}
	log = strings.ReplaceAll(log, filepath.Dir(n.Kubeconfig), "DIR")
	if (log == "") != (tt.log == "") || !strings.Contains(log, tt.log) || strings.Count(log, "\n") > 0 {
		t.Errorf("log = %q, want one line with %q", log, tt.log)
	}
	if strings.Contains(log, "secret") || strings.Contains(log, "0123456789abcdef") {
		t.Errorf("log = %q gives a secret away", log)
	}
	if tt.moved != "" {
		if _, err := os.Stat(filepath.Join(filepath.Dir(n.CertDir), tt.moved+".bad")); err != nil {
			t.Error(err)
		}
	}
}

// layOut writes the files of before.
func (tt prepareTest) layOut(n *node) {
	token := filepath.Join(filepath.Dir(n.CertDir), "token")
	n.write(token, "secret")
	text := strings.ReplaceAll(tt.kubelet, "TOKEN", token)
	if text == "OWN" {
		text = n.own()
	}
	if text != "" {
		n.write(n.Kubeconfig, text)
	}
	if tt.bootstrap != "" {
		n.write(n.Bootstrap, tt.bootstrap)
	}
	if tt.issued != "" {
		n.issue(tt.issued, time.Hour)
	}
}

// A certificate that a power cut has spoilt is put aside, and asked for again.
func TestSpoiltCertificates(t *testing.T) {
	n := newNode(t)
	n.write(n.Kubeconfig, n.own())
	n.write(n.Bootstrap, bootstrapText())
	n.issue("system:node:node-1", time.Hour)
	n.must(os.Truncate(n.current(), 100))
	n.write(filepath.Join(n.CertDir, "kubelet-server-current.pem"), "")
	m := n.Prepare("node-1", n.say)
	if !m.Waiting || !m.Bootstrap {
		t.Errorf("membership = %+v, want one that waits for a certificate", m)
	}
	for _, name := range []string{"client", "server"} {
		path := filepath.Join(n.CertDir, "kubelet-"+name+"-current.pem")
		if !strings.Contains(n.said(), "the certificate "+path+" is not used, and is kept as") {
			t.Errorf("log = %q does not name %s", n.said(), path)
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Error(err)
		}
	}
}

// A named pipe, or a file without end, in the place of any file: the kubelet neither waits
// for it nor reads it.
func TestStrangeFiles(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"pipe":    func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"endless": func(path string) error { return os.Symlink("/dev/zero", path) },
		"large": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		for _, place := range []string{"kubeconfig", "bootstrap", "authority", "token", "client CA"} {
			t.Run(name+" as "+place, func(t *testing.T) {
				n := newNode(t)
				path := filepath.Join(t.TempDir(), "strange")
				n.must(put(path))
				switch place {
				case "kubeconfig":
					n.Kubeconfig = path
				case "bootstrap":
					n.Bootstrap = path
				case "authority":
					n.write(n.Kubeconfig, config(server, ", certificate-authority: "+path, "token: x"))
				case "token":
					n.write(n.Kubeconfig, config(server, "", "tokenFile: "+path))
				case "client CA":
					n.ClientCA = path
				}
				if m := n.Prepare("node-1", n.say); m.Server != "" || !strings.Contains(n.said(), path) {
					t.Errorf("membership = %+v, log = %q, want no cluster and the file's name", m, n.said())
				}
			})
		}
	}
}

func TestArgs(t *testing.T) {
	list := []string{"--a", "b", "--kubeconfig", "k", "--bootstrap-kubeconfig=b", "--z"}
	for _, tt := range []struct {
		m    Membership
		want string
	}{
		{Membership{}, "--a b --z"},
		{Membership{Server: server}, "--a b --kubeconfig k --z"},
		{Membership{Server: server, Bootstrap: true}, "--a b --kubeconfig k --bootstrap-kubeconfig=b --z"},
	} {
		if got := strings.Join(tt.m.Args(list), " "); got != tt.want {
			t.Errorf("Args of %+v = %s, want %s", tt.m, got, tt.want)
		}
	}
}

// access is what a drop-in says of who may use the port.
type access struct {
	Authentication struct {
		Anonymous, Webhook struct{ Enabled bool }
		X509               struct{ ClientCAFile string }
	}
	Authorization      struct{ Mode string }
	EnableServer       bool
	RotateCertificates bool
}

func TestDropIn(t *testing.T) {
	ca, _ := newCert("kubernetes", time.Hour)
	withCA := config(server, ", certificate-authority-data: "+encoded(ca), "token: abcdef.0123456789abcdef")
	tests := []struct {
		name      string
		bootstrap string
		ca        string
		server    bool
		mode      string
		clientCA  string // CONFIG for that of the kubeconfig
		log       string
	}{
		{"standalone", "", "", false, "AlwaysAllow", "", ""},
		{"standalone with a CA", "", ca, true, "AlwaysAllow", "ca.crt", ""},
		{"standalone with a bad CA", "", "x", false, "AlwaysAllow", "", "ca.crt is not used"},
		{"in a cluster", withCA, ca, true, "Webhook", "ca.crt", ""},
		{"in a cluster with its CA in the kubeconfig", withCA, "", true, "Webhook", "cluster-ca.crt", ""},
		{"in a cluster with a bad CA", withCA, "x", true, "Webhook", "", "ca.crt is not used"},
		{"in a cluster without a CA", bootstrapText(), "", true, "Webhook", "", "kubectl logs and exec do not work"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			if tt.bootstrap != "" {
				n.write(n.Bootstrap, tt.bootstrap)
			}
			if tt.ca != "" {
				n.write(n.ClientCA, tt.ca)
			}
			dir := t.TempDir()
			n.must(n.Prepare("node-1", n.say).WriteDropIn(dir))
			text, err := os.ReadFile(filepath.Join(dir, "20-cluster.conf"))
			n.must(err)
			var got access
			n.must(json.Unmarshal(text, &got))
			joined := tt.bootstrap != ""
			if got.EnableServer != tt.server || got.Authorization.Mode != tt.mode || got.Authentication.Anonymous.Enabled || got.Authentication.Webhook.Enabled != joined {
				t.Errorf("drop-in = %s", text)
			}
			file := got.Authentication.X509.ClientCAFile
			if tt.clientCA == "" && file != "" || tt.clientCA != "" && filepath.Base(file) != tt.clientCA {
				t.Errorf("clientCAFile = %q, want %q", file, tt.clientCA)
			}
			if file != "" {
				if now, err := os.ReadFile(file); err != nil || string(now) != ca {
					t.Errorf("%s = %q, %v", file, now, err)
				}
			}
			if log := n.said(); (log == "") != (tt.log == "") || !strings.Contains(log, tt.log) {
				t.Errorf("log = %q, want %q", log, tt.log)
			}
		})
	}
}

// watch runs Watch and returns what it returns.
func (n *node) watch(m Membership) chan bool {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bool, 1)
	go func() {
		_, better := n.Watch(ctx, m, "node-1", Say(n.say).Once())
		done <- better
	}()
	n.t.Cleanup(cancel)
	return done
}

func expect(t *testing.T, done chan bool, want bool) {
	t.Helper()
	select {
	case got := <-done:
		if got != want {
			t.Errorf("Watch = %v, want %v", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Watch did not return")
	}
}

func TestWatch(t *testing.T) {
	cert, key := newCert("system:node:node-1", time.Hour)
	otherCert, _ := newCert("system:node:node-1", time.Hour)
	ready := config(server, "", "client-certificate-data: "+encoded(cert)+", client-key-data: "+encoded(key))
	tests := []struct {
		name   string
		before func(*node)
		then   func(*node)
		want   bool
	}{
		{"kubeconfig appears", nil, func(n *node) { n.write(n.Kubeconfig, ready) }, true},
		{"bootstrap kubeconfig appears", nil, func(n *node) { n.write(n.Bootstrap, bootstrapText()) }, true},
		{"bootstrap kubeconfig is renamed", nil, func(n *node) {
			n.write(n.Bootstrap+".tmp", bootstrapText())
			n.must(os.Rename(n.Bootstrap+".tmp", n.Bootstrap))
		}, true},
		{"written in parts", nil, func(n *node) {
			for i := range len(ready) / 40 {
				n.write(n.Kubeconfig, ready[:i*40])
			}
			n.write(n.Kubeconfig, ready)
		}, true},
		{"bad one is mended", func(n *node) { n.write(n.Bootstrap, "x: [") }, func(n *node) { n.write(n.Bootstrap, bootstrapText()) }, true},
		{"file that it names appears, far from it", func(n *node) {
			n.write(n.Kubeconfig, config(server, "", "tokenFile: '"+filepath.Join(n.CertDir, "deep/down/token")+"'"))
		}, func(n *node) { n.write(filepath.Join(n.CertDir, "deep/down/token"), "secret") }, true},
		{"fresh token", func(n *node) { n.write(n.Bootstrap, bootstrapText()); n.write(n.Kubeconfig, n.own()) },
			func(n *node) {
				n.write(n.Bootstrap, strings.Replace(bootstrapText(), "abcdef.", "fedcba.", 1))
			}, true},
		{"the authority is mended", func(n *node) {
			n.write(n.ClientCA, otherCert)
			n.write(n.Bootstrap, config(server, ", certificate-authority: '"+n.ClientCA+"'", "token: abcdef.0123456789abcdef"))
		}, func(n *node) { n.write(n.ClientCA, cert) }, true},
		{"certificate arrives", func(n *node) { n.write(n.Bootstrap, bootstrapText()); n.write(n.Kubeconfig, n.own()) },
			func(n *node) { n.issue("system:node:node-1", time.Hour) }, false},
		{"kubeconfig in place of a bootstrap", func(n *node) { n.write(n.Bootstrap, bootstrapText()) }, func(n *node) { n.write(n.Kubeconfig, ready) }, true},
		{"in its cluster", func(n *node) { n.write(n.Kubeconfig, ready) }, func(*node) {}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			if tt.before != nil {
				tt.before(n)
			}
			done := n.watch(n.Prepare("node-1", n.say))
			tt.then(n)
			expect(t, done, tt.want)
		})
	}
}

// A kubelet is started again for what is new only.
func TestNothingNewDoesNotRestart(t *testing.T) {
	oldCert, oldKey := newCert("system:node:node-1", -time.Minute)
	for name, kubelet := range map[string]string{
		"no kubelet.conf": "",
		"expired":         config(server, "", "client-certificate-data: "+encoded(oldCert)+", client-key-data: "+encoded(oldKey)),
		"bad":             "x: [",
	} {
		n := newNode(t)
		n.write(n.Bootstrap, bootstrapText())
		if kubelet != "" {
			n.write(n.Kubeconfig, kubelet)
		}
		m := n.Prepare("node-1", n.say)
		if now := n.read("node-1", n.say); now.betters(m) || now.settled() {
			t.Errorf("%s: %+v after %+v", name, now, m)
		}
	}
}

// A kubelet that is asking for a certificate writes kubelet.conf itself: that
// is no reason to start it again.
func TestOwnKubeconfigDoesNotRestart(t *testing.T) {
	n := newNode(t)
	n.write(n.Bootstrap, bootstrapText())
	m := n.Prepare("node-1", n.say)
	n.write(n.Kubeconfig, n.own())
	if now := n.read("node-1", n.say); now.betters(m) || now.settled() {
		t.Errorf("with the kubelet's own kubelet.conf: %+v", now)
	}
	n.issue("system:node:node-1", time.Hour)
	if now := n.read("node-1", n.say); now.betters(m) || !now.settled() {
		t.Errorf("with a certificate: %+v", now)
	}
}
