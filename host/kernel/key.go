package kernel

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"kios/internal/wholefile"
)

// keyFile is where the configuration (CONFIG_MODULE_SIG_KEY) expects the key,
// in the source tree.
const keyFile = "certs/kios.pem"

// KeyPath returns where the key that signs modules is kept:
// ${XDG_DATA_HOME:-~/.local/share}/kios/module-signing-key.pem. It is not in
// the cache, because a new key means a new kernel.
func KeyPath() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the key that signs modules: %w (set HOME or XDG_DATA_HOME)", err)
		}
		base = filepath.Join(home, ".local/share")
	}
	return filepath.Join(base, "kios", "module-signing-key.pem"), nil
}

// readKey returns the PEM file of the key that signs modules and its
// certificate, and makes both at the first build. Who builds with the same file
// gets the same kernel, byte for byte; RSA, because its signatures hold nothing
// random.
func readKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return text, checkKey(path, text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if text, err = makeKey(); err != nil {
		return nil, fmt.Errorf("make a key to sign modules: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// Whoever is first wins: a build beside this one must sign with the same.
	if err := wholefile.New(path, text, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

// checkKey finds what would otherwise end the kernel's build after minutes.
func checkKey(path string, text []byte) error {
	have := map[string]bool{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		have[block.Type] = true
	}
	if !have["PRIVATE KEY"] || !have["CERTIFICATE"] {
		return fmt.Errorf("%s does not hold a private key (PKCS #8) and a certificate in PEM: put yours there, or remove it to have a new one made", path)
	}
	return nil
}

func makeKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(&key.PublicKey)) // RFC 5280, section 4.2.1.2
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "kiOS kernel modules"},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		// The kernel does not look at it.
		NotAfter:              time.Now().AddDate(100, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		SubjectKeyId:          id[:],
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = errors.Join(
		pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	return out.Bytes(), err
}

// keySum identifies a key in the cache's key without telling it.
func keySum(key []byte) string { return fmt.Sprintf("%x", sha256.Sum256(key)) }
