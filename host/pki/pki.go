// Package pki makes certificates: an authority for one run of a virtual machine
// or for the life of a cluster, and what it signs for clients, servers and those
// that are both. Keys are ECDSA P-256, which a guest without hardware
// virtualisation makes and checks in milliseconds where RSA takes seconds.
//
// It keeps nothing, revokes nothing and renews nothing; see RFC 5280 for the
// certificates and RFC 7468 for their text form. Package clusterconfig keeps what it
// makes here.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Certificates are valid for a year, so that a kept disk can be run again, and
// from a day ago, since the guest's clock may be behind.
const (
	validFor    = 365 * 24 * time.Hour
	validBefore = 24 * time.Hour
)

// Pair is a certificate and its private key, both in PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// CA is a certificate authority.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority that is valid for as long as what it signs, a year.
func NewCA(commonName string) (*CA, error) { return NewCAFor(commonName, validFor) }

// NewCAFor makes an authority that is valid from now on for the given time.
func NewCAFor(commonName string, life time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", commonName, err)
	}
	template := newTemplate(pkix.Name{CommonName: commonName})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	template.NotAfter = time.Now().Add(life)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", commonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", commonName, err)
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadCA returns the authority whose certificate and key p has.
func LoadCA(p Pair) (*CA, error) {
	cert, key, err := p.Parse()
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("the certificate of %s is not a CA certificate", cert.Subject.CommonName)
	}
	return &CA{cert: cert, key: key}, nil
}

// Certificate returns the authority's certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Cert returns the authority's certificate in PEM.
func (ca *CA) Cert() []byte { return encode("CERTIFICATE", ca.cert.Raw) }

// Key returns the authority's private key in PEM.
func (ca *CA) Key() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", ca.cert.Subject.CommonName, err)
	}
	return encode("PRIVATE KEY", der), nil
}

// Client makes a certificate for a TLS client. Kubernetes takes the common
// name for the user and the organizations for the user's groups.
func (ca *CA) Client(commonName string, organizations ...string) (Pair, error) {
	template := newTemplate(pkix.Name{CommonName: commonName, Organization: organizations})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.issue(template)
}

// Server makes a certificate for a TLS server that is reached by any of the
// names, of which each is a DNS name or an IP address.
func (ca *CA) Server(names ...string) (Pair, error) {
	return ca.server(names, x509.ExtKeyUsageServerAuth)
}

// Peer makes a certificate for a TLS server that is a client of others of its
// kind, as members of etcd are.
func (ca *CA) Peer(names ...string) (Pair, error) {
	return ca.server(names, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (ca *CA) server(names []string, usages ...x509.ExtKeyUsage) (Pair, error) {
	template := newTemplate(pkix.Name{CommonName: names[0]})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usages
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return ca.issue(template)
}

func (ca *CA) issue(template *x509.Certificate) (Pair, error) {
	name := template.Subject.CommonName
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter // nobody would believe it any longer
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make the key of %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode the key of %s: %w", name, err)
	}
	return Pair{Cert: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", keyDER)}, nil
}

// Parse returns the certificate and the key of p, which must belong together
// and be of the kind that this package makes.
func (p Pair) Parse() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(p.Cert)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, nil, errors.New("no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := ParseKey(p.Key)
	if err != nil {
		return nil, nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("the key does not belong to the certificate of %s", cert.Subject.CommonName)
	}
	return cert, key, nil
}

// NewKey makes a private key without a certificate, in PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("PRIVATE KEY", der), nil
}

// PublicKey returns the public half of a private key, both in PEM.
func PublicKey(key []byte) ([]byte, error) {
	private, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode a public key: %w", err)
	}
	return encode("PUBLIC KEY", der), nil
}

// ParseKey reads a private key in PEM: an ECDSA one in PKCS #8.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key (PKCS #8) in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the private key is a %T, not ECDSA", key)
	}
	return ec, nil
}

func newTemplate(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // crypto/rand does not fail
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // RFC 5280: positive
		Subject:      subject,
		NotBefore:    now.Add(-validBefore),
		NotAfter:     now.Add(validFor),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
