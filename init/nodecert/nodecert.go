// Package nodecert gives the kubelet its serving certificate. The kubelet would
// make an RSA key at its first start, which takes hundreds of milliseconds; an
// ECDSA key takes one. The pair is made once and kept. A pair that is there
// already is used.
//
// If the cluster's CA is there (certificate and key), it signs the certificate;
// otherwise the certificate is self-signed. The package leaves out renewal: the
// certificate does not expire, in the notation of RFC 5280, section 4.1.2.5.
package nodecert

import (
	"crypto"
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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// Pair names the files of a certificate and its key, in PEM.
type Pair struct{ Cert, Key string }

// CA signs certificates. With a nil *CA they are self-signed.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// LoadCA reads a CA's certificate and key, which must belong together.
func LoadCA(p Pair) (*CA, error) {
	cert, err := ReadCert(p.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readKey(p.Key)
	if err != nil {
		return nil, err
	}
	if !belong(cert, key) {
		return nil, fmt.Errorf("%s is not the key of %s", p.Key, p.Cert)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of a CA", p.Cert)
	}
	return &CA{cert, key}, nil
}

// ReadCert reads the first certificate of a file.
func ReadCert(file string) (*x509.Certificate, error) {
	block, err := readPEM(file, "certificate", func(typ string) bool { return typ == "CERTIFICATE" })
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", file, err)
	}
	return cert, nil
}

func readKey(file string) (crypto.Signer, error) {
	block, err := readPEM(file, "private key", func(typ string) bool {
		return typ == "PRIVATE KEY" || typ == "EC PRIVATE KEY" || typ == "RSA PRIVATE KEY"
	})
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", file, err)
	}
	return key, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is none of PKCS #8, PKCS #1 and SEC 1")
	}
	return key, nil
}

// readPEM returns the first block whose type is wanted.
func readPEM(file, what string, want func(typ string) bool) ([]byte, error) {
	text, err := userfile.Read(file, userfile.Max)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if want(block.Type) {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("%s holds no %s in PEM", file, what)
}

func belong(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// Check returns nil for a pair that can be served. The error is fs.ErrNotExist
// when neither file is there.
func (p Pair) Check() error {
	_, certErr := os.Lstat(p.Cert)
	_, keyErr := os.Lstat(p.Key)
	if errors.Is(certErr, os.ErrNotExist) && errors.Is(keyErr, os.ErrNotExist) {
		return certErr
	}
	cert, err := ReadCert(p.Cert)
	if err != nil {
		return errors.New(err.Error()) // one file of two is a broken pair, not a missing one
	}
	key, err := readKey(p.Key)
	if err != nil {
		return errors.New(err.Error())
	}
	if !belong(cert, key) {
		return fmt.Errorf("%s is not the key of %s", p.Key, p.Cert)
	}
	return nil
}

// SetAside renames the files of a broken pair to NAME.bad.
func (p Pair) SetAside() error {
	for _, file := range []string{p.Cert, p.Key} {
		if err := os.Rename(file, file+".bad"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Make writes a new pair for the given host names and addresses, signed by ca.
func (p Pair) Make(names []string, ca *CA) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	template := newTemplate(names)
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	return p.write(cert, der)
}

// maker is the organization in certificates that Make makes. Their names differ from
// those that a cluster would sign, system:node:NAME of system:nodes. A kubelet that
// gets a certificate from its cluster serves with ours until then, and would not
// request one if ours looked like it.
const maker = "kiOS"

// Outdated reports whether the certificate was made by Make and is to be replaced:
// it lacks a name that the node has now, or its own name is one that a cluster would
// sign, as earlier versions made them. A certificate of somebody else is never
// outdated.
func (p Pair) Outdated(names []string) bool {
	cert, err := ReadCert(p.Cert)
	if err != nil || !cert.NotAfter.Equal(forever) {
		return false
	}
	if !slices.Contains(cert.Subject.Organization, maker) {
		return strings.HasPrefix(cert.Subject.CommonName, "system:node:")
	}
	return slices.ContainsFunc(names, func(name string) bool { return cert.VerifyHostname(name) != nil })
}

// forever is the end of the certificates that Make makes.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// newTemplate returns a certificate without an end. Its beginning is in the past: the
// clock of a machine without a battery is wrong until a pod has set it.
func newTemplate(names []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // rand.Reader does not fail
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0], Organization: []string{maker}},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     forever,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return t
}

// write writes the key first: where there is a certificate, the pair is complete.
func (p Pair) write(cert, key []byte) error {
	if err := os.MkdirAll(filepath.Dir(p.Cert), 0o700); err != nil {
		return err
	}
	if err := replace(p.Key, "PRIVATE KEY", key, 0o600); err != nil {
		return err
	}
	return replace(p.Cert, "CERTIFICATE", cert, 0o644)
}

// replace writes one block of PEM to a file.
func replace(file, typ string, der []byte, mode os.FileMode) error {
	return wholefile.Durable(file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), mode)
}
