// Package authority makes a cluster's CA, and servers with its certificates, for tests.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"kios/test/lab"
)

// Authority is a CA.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes a CA that is good for an hour.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{}
	template := template("kubernetes")
	template.IsCA, template.BasicConstraintsValid = true, true
	der, key := a.sign(t, template)
	cert, err := x509.ParseCertificate(der)
	lab.Must(t, err)
	return &Authority{cert, key}
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

// sign signs with the CA, or, before there is one, with the new key itself.
func (a *Authority) sign(t testing.TB, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	lab.Must(t, err)
	return der, key
}

// PEM is the certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Hash is that of the public key, as kubeadm prints it.
func (a *Authority) Hash() string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(a.cert.RawSubjectPublicKeyInfo))
}

// Leaf makes a certificate that is no CA's, in PEM.
func (a *Authority) Leaf(t testing.TB) []byte {
	t.Helper()
	der, _ := a.sign(t, template("leaf"))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Config is that of a server with an address or a name.
func (a *Authority) Config(t testing.TB, host string) *tls.Config {
	t.Helper()
	template := template("server")
	if address := net.ParseIP(host); address != nil {
		template.IPAddresses = []net.IP{address}
	} else {
		template.IPAddresses, template.DNSNames = nil, []string{host}
	}
	der, key := a.sign(t, template)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Serve serves HTTPS on 127.0.0.1, with a certificate by a, and returns the address.
func (a *Authority) Serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = a.Config(t, "127.0.0.1")
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
