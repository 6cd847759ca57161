package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func newCA(t *testing.T) (*CA, *x509.CertPool) {
	t.Helper()
	ca, err := NewCA("test")
	lab.Must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.Cert()) {
		t.Fatalf("Cert() = %s, want a certificate in PEM", ca.Cert())
	}
	return ca, pool
}

func parse(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	lab.Must(t, err)
	if _, ok := pair.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("key is a %T, want ECDSA", pair.PrivateKey)
	}
	return pair.Leaf
}

func TestServer(t *testing.T) {
	ca, pool := newCA(t)
	pair, err := ca.Server("node", "127.0.0.1")
	lab.Must(t, err)
	cert := parse(t, pair)
	for _, tt := range []struct {
		name string
		use  x509.ExtKeyUsage
		ok   bool
	}{
		{"node", x509.ExtKeyUsageServerAuth, true},
		{"127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"other", x509.ExtKeyUsageServerAuth, false},
		{"node", x509.ExtKeyUsageClientAuth, false},
	} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: tt.name, KeyUsages: []x509.ExtKeyUsage{tt.use}})
		if (err == nil) != tt.ok {
			t.Errorf("Verify(%s, usage %d) = %v, want ok %t", tt.name, tt.use, err, tt.ok)
		}
	}
}

func TestClient(t *testing.T) {
	ca, pool := newCA(t)
	_, strangers := newCA(t)
	pair, err := ca.Client("alice", "group-a", "group-b")
	lab.Must(t, err)
	cert := parse(t, pair)
	if cert.Subject.CommonName != "alice" {
		t.Errorf("common name = %q, want alice", cert.Subject.CommonName)
	}
	if diff := cmp.Diff([]string{"group-a", "group-b"}, cert.Subject.Organization); diff != "" {
		t.Errorf("organizations (-want +got):\n%s", diff)
	}
	use := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: use}); err != nil {
		t.Errorf("Verify = %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: strangers, KeyUsages: use}); err == nil {
		t.Error("Verify against another authority succeeded")
	}
}
