package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"testing"

	"kios/test/lab"
)

// Request is a node's request for a certificate.
type Request struct {
	Name      string // of the object
	Node      string
	Signer    string // without "kubernetes.io/"
	Usage     string // besides digital signature
	DNSNames  []string
	Addresses []string
}

// Make returns the manifest of a CertificateSigningRequest, and the key of the
// certificate in PEM.
func (r Request) Make(t testing.TB) (manifest string, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lab.Must(t, err)
	template := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:" + r.Node, Organization: []string{"system:nodes"}},
		DNSNames: r.DNSNames,
	}
	for _, a := range r.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	lab.Must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	lab.Must(t, err)
	return fmt.Sprintf(`apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: %s}
spec:
  request: %s
  signerName: kubernetes.io/%s
  usages: [digital signature, %s]
`, r.Name, base64.StdEncoding.EncodeToString(encode("CERTIFICATE REQUEST", der)), r.Signer, r.Usage), encode("PRIVATE KEY", keyDER)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
