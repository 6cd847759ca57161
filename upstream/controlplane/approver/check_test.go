package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// request is one as the kubelet of the node worker-1 makes it.
type request struct {
	template x509.CertificateRequest
	csr      certificates.CertificateSigningRequest
	node     *core.Node
	others   []*core.Node
	rules    rules
}

func goodRequest() *request {
	return &request{
		template: x509.CertificateRequest{
			Subject:     pkix.Name{CommonName: "system:node:worker-1", Organization: []string{"system:nodes"}},
			DNSNames:    []string{"worker-1"},
			IPAddresses: []net.IP{net.ParseIP("10.77.0.11"), net.ParseIP("fd00::11")},
		},
		csr: certificates.CertificateSigningRequest{Spec: certificates.CertificateSigningRequestSpec{
			SignerName: certificates.KubeletServingSignerName,
			Username:   "system:node:worker-1",
			Groups:     []string{"system:nodes", "system:authenticated"},
			Usages:     []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageServerAuth},
		}},
		node: &core.Node{
			ObjectMeta: meta.ObjectMeta{Name: "worker-1", CreationTimestamp: meta.Unix(200, 0)},
			Status: core.NodeStatus{Addresses: []core.NodeAddress{
				{Type: core.NodeInternalIP, Address: "10.77.0.11"},
				{Type: core.NodeInternalIP, Address: "fd00:0::11"},
				{Type: core.NodeHostName, Address: "worker-1"},
				{Type: core.NodeInternalDNS, Address: "worker-1.example"},
			}},
		},
	}
}

func (r *request) check(t *testing.T) error {
	t.Helper()
	if r.csr.Spec.Request == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &r.template, key)
		if err != nil {
			t.Fatal(err)
		}
		r.csr.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return r.rules.check(&r.csr, append(r.others, r.node))
}

// addOther adds a node of another name, made at that second.
func (r *request) addOther(name, address string, made int64) {
	r.others = append(r.others, &core.Node{
		ObjectMeta: meta.ObjectMeta{Name: name, CreationTimestamp: meta.Unix(made, 0)},
		Status:     core.NodeStatus{Addresses: []core.NodeAddress{{Type: core.NodeInternalIP, Address: address}}},
	})
}

// rule is what the command line allows and forbids, in words.
func rule(allowed, forbidden string, servers ...string) rules {
	r, err := parseRules(strings.Fields(allowed), strings.Fields(forbidden), servers)
	if err != nil {
		panic(err)
	}
	return r
}

var checkTests = []struct {
	name   string
	change func(*request)
	want   string // in the error; "" if it may be approved
}{
	{"as the kubelet makes it", func(*request) {}, ""},
	{"an RSA key", func(r *request) { r.csr.Spec.Usages = append(r.csr.Spec.Usages, certificates.UsageKeyEncipherment) }, ""},
	{"another of its names", func(r *request) { r.template.DNSNames = []string{"worker-1.example"} }, ""},
	{"an address that a later node claims", func(r *request) { r.addOther("worker-2", "10.77.0.11", 201) }, ""},
	{"another address than an earlier node's", func(r *request) { r.addOther("control-plane", "10.77.0.10", 100) }, ""},
	{"its own name, which an earlier node claims", func(r *request) { r.addOther("control-plane", "worker-1", 100) }, ""},
	{"within the networks", func(r *request) { r.rules = rule("10.77.0.0/24 fd00::/64", "10.96.0.0/16") }, ""},
	{"the API server's name and address, on its node", func(r *request) { r.rules = rule("", "worker-1 10.77.0.11", "other", "worker-1") }, ""},

	{"another signer", func(r *request) { r.csr.Spec.SignerName = certificates.KubeAPIServerClientKubeletSignerName }, "signer"},
	{"a person", func(r *request) { r.csr.Spec.Username = "alice" }, "alice is no node"},
	{"a bootstrap token", func(r *request) { r.csr.Spec.Username = "system:bootstrap:abcdef" }, "is no node"},
	{"a user that is called like a node", func(r *request) { r.csr.Spec.Groups = []string{"system:authenticated"} }, "is no node"},
	{"a node without a name", func(r *request) { r.csr.Spec.Username = "system:node:" }, "is no node"},
	{"another node's name", func(r *request) { r.template.Subject.CommonName = "system:node:worker-2" }, "common name"},
	{"no organization", func(r *request) { r.template.Subject.Organization = nil }, "organization"},
	{"a second organization", func(r *request) { r.template.Subject.Organization = []string{"system:nodes", "system:masters"} }, "organization"},
	{"more in the subject", func(r *request) { r.template.Subject.OrganizationalUnit = []string{"x"} }, "more than"},
	{"a client's usage", func(r *request) {
		r.csr.Spec.Usages = []certificates.KeyUsage{certificates.UsageDigitalSignature, certificates.UsageClientAuth}
	}, "usages"},
	{"a client's usage, too", func(r *request) { r.csr.Spec.Usages = append(r.csr.Spec.Usages, certificates.UsageClientAuth) }, "usages"},
	{"no usage", func(r *request) { r.csr.Spec.Usages = nil }, "usages"},
	{"no such node", func(r *request) { r.node.Name = "worker-2" }, "there is no node worker-1"},
	{"no addresses yet", func(r *request) { r.node.Status.Addresses = nil }, "10.77.0.11 is no address of the node"},
	{"for nothing", func(r *request) { r.template.DNSNames, r.template.IPAddresses = nil, nil }, "no name and no address"},
	{"another node's address", func(r *request) { r.template.IPAddresses[0] = net.ParseIP("10.77.0.12") }, "10.77.0.12 is no address"},
	{"another name", func(r *request) { r.template.DNSNames = []string{"worker-1", "worker-2"} }, "worker-2 is no name"},
	{"an address as a name", func(r *request) { r.template.DNSNames = []string{"10.77.0.11"} }, "is no name"},
	{"a forbidden address as a name", func(r *request) {
		r.rules = rule("", "10.96.0.0/16")
		r.template.DNSNames = []string{"10.96.0.1"}
		r.node.Status.Addresses[2].Address = "10.96.0.1"
	}, "is no name"},
	{"a forbidden name with a dot", func(r *request) {
		r.rules = rule("", "k8s.example")
		r.template.DNSNames = []string{"k8s.example."}
		r.node.Status.Addresses[2].Address = "k8s.example."
	}, "is no name"},
	{"a mail address", func(r *request) { r.template.EmailAddresses = []string{"a@b.example"} }, "mail addresses"},
	{"a URI", func(r *request) { r.template.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, "URIs"},
	{"not PEM", func(r *request) { r.csr.Spec.Request = []byte("x") }, "PEM"},
	{"not a request", func(r *request) {
		r.csr.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})
	}, "does not parse"},
	{"the API server's name, claimed in the status", func(r *request) {
		r.template.DNSNames = []string{"kubernetes.default.svc"}
		r.node.Status.Addresses = append(r.node.Status.Addresses, core.NodeAddress{Type: core.NodeHostName, Address: "kubernetes.default.svc"})
	}, "no node may have"},
	{"an earlier node's address, claimed in the status", func(r *request) { r.addOther("control-plane", "fd00:0:0::11", 100) }, "fd00::11 is the node control-plane"},
	{"another node's address, of the same second", func(r *request) { r.addOther("control-plane", "10.77.0.11", 200) }, "10.77.0.11 is the node control-plane"},
	{"a later node's name, claimed in the status", func(r *request) {
		r.template.DNSNames = []string{"worker-1.example"}
		r.addOther("Worker-1.example", "10.77.0.12", 201)
	}, "worker-1.example is the node Worker-1.example"},
	{"a service's name in another domain", func(r *request) {
		r.template.DNSNames = []string{"kubernetes.default.svc.example.org"}
		r.node.Status.Addresses = append(r.node.Status.Addresses, core.NodeAddress{Type: core.NodeHostName, Address: "kubernetes.default.svc.example.org"})
	}, "no node may have"},
	{"a node that is called like a service", func(r *request) {
		r.template.Subject.CommonName, r.csr.Spec.Username = "system:node:kubernetes", "system:node:kubernetes"
		r.template.DNSNames, r.node.Name = []string{"kubernetes"}, "kubernetes"
	}, "no node may have"},
	{"loopback, claimed in the status", func(r *request) {
		r.template.IPAddresses = []net.IP{net.ParseIP("127.0.0.1")}
		r.node.Status.Addresses[0].Address = "127.0.0.1"
	}, "no node may have"},
	{"a forbidden address", func(r *request) { r.rules = rule("", "10.77.0.11") }, "no node may have"},
	{"a forbidden network", func(r *request) { r.rules = rule("", "fd00::/64") }, "no node may have"},
	{"a forbidden network, on the API server's node", func(r *request) { r.rules = rule("", "10.77.0.11/32", "worker-1") }, "no node may have"},
	{"the API server's address, on another node", func(r *request) { r.rules = rule("", "10.77.0.11", "control-plane") }, "no node may have"},
	{"the API server's name, on another node", func(r *request) { r.rules = rule("", "worker-1", "control-plane") }, "no node may have"},
	{"a forbidden name", func(r *request) { r.rules = rule("", "Worker-1") }, "no node may have"},
	{"outside of the networks", func(r *request) { r.rules = rule("10.77.0.0/24", "") }, "fd00::11 is in none"},
}

func TestCheck(t *testing.T) {
	for _, tt := range checkTests {
		r := goodRequest()
		tt.change(r)
		err := r.check(t)
		switch {
		case err == nil && tt.want != "":
			t.Errorf("%s: approved, want a reason with %q", tt.name, tt.want)
		case err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: left alone (%v), want %q", tt.name, err, tt.want)
		}
	}
}

// A request whose signature is that of another key asks for a certificate of a
// key that the node does not have.
func TestCheckSignature(t *testing.T) {
	r := goodRequest()
	if err := r.check(t); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(r.csr.Spec.Request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	r.csr.Spec.Request = pem.EncodeToMemory(block)
	if err := r.check(t); err == nil || !strings.Contains(err.Error(), "signed") && !strings.Contains(err.Error(), "parse") {
		t.Errorf("check() = %v, want a complaint about the signature", err)
	}
}

func TestParseRules(t *testing.T) {
	for _, tt := range []struct{ allowed, forbidden string }{{"10.0.0.0", ""}, {"worker", ""}, {"", "10.0.0.0/40"}} {
		if _, err := parseRules(strings.Fields(tt.allowed), strings.Fields(tt.forbidden), nil); err == nil {
			t.Errorf("parseRules(%q, %q) succeeded", tt.allowed, tt.forbidden)
		}
	}
}
