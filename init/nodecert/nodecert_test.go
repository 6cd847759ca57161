package nodecert

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

func pairIn(dir, name string) Pair {
	return Pair{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

var names = []string{"node-1", "localhost", "127.0.0.1", "::1"}

// writeCA makes an RSA CA, as most clusters have one.
func writeCA(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	lab.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	lab.Must(t, err)
	lab.Must(t, replace(p.Cert, "CERTIFICATE", der, 0o644))
	lab.Must(t, replace(p.Key, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), 0o600))
	cert, err := x509.ParseCertificate(der)
	lab.Must(t, err)
	return cert
}

// TestMake has a TLS server's own loader and verifier judge the pair.
func TestMake(t *testing.T) {
	dir := t.TempDir()
	caPair := pairIn(dir, "ca")
	caCert := writeCA(t, caPair)
	ca, err := LoadCA(caPair)
	lab.Must(t, err)
	for _, signer := range []*CA{ca, nil} {
		p := pairIn(filepath.Join(dir, "new", "pki"), "kubelet-server")
		lab.Must(t, p.Make(names, signer))
		if err := p.Check(); err != nil {
			t.Errorf("Check = %v", err)
		}
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		lab.Must(t, err)
		root := caCert
		if signer == nil {
			root = pair.Leaf
		}
		roots := x509.NewCertPool()
		roots.AddCert(root)
		for _, name := range names {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "[" + name + "]", Roots: roots}); err != nil {
				if _, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
					t.Errorf("verify for %s: %v", name, err)
				}
			}
		}
		if info, _ := os.Stat(p.Key); info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the key = %v", info.Mode())
		}
	}
}

func TestCheck(t *testing.T) {
	garbage := func(t *testing.T, file string) {
		lab.Must(t, os.WriteFile(file, []byte("garbage"), 0o600))
	}
	tests := []struct {
		name  string
		spoil func(*testing.T, Pair)
		want  string
	}{
		{"cert is garbage", func(t *testing.T, p Pair) { garbage(t, p.Cert) }, "n.crt holds no certificate in PEM"},
		{"key is garbage", func(t *testing.T, p Pair) { garbage(t, p.Key) }, "n.key holds no private key in PEM"},
		{"key is missing", func(t *testing.T, p Pair) { os.Remove(p.Key) }, "n.key"},
		{"cert is missing", func(t *testing.T, p Pair) { os.Remove(p.Cert) }, "n.crt"},
		{"key of another", func(t *testing.T, p Pair) {
			other := pairIn(t.TempDir(), "o")
			lab.Must(t, other.Make(names, nil))
			os.Rename(other.Key, p.Key)
		}, "is not the key of"},
		{"cert is cut", func(t *testing.T, p Pair) {
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0x82}})
			os.WriteFile(p.Cert, block, 0o644)
		}, "read certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pairIn(t.TempDir(), "n")
			if err := p.Check(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Check of nothing = %v, want fs.ErrNotExist", err)
			}
			lab.Must(t, p.Make(names, nil))
			tt.spoil(t, p)
			err := p.Check()
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
			if err := p.SetAside(); err != nil {
				t.Error(err)
			}
			if err := p.Check(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Check after SetAside = %v", err)
			}
		})
	}
}

func TestLoadCA(t *testing.T) {
	dir := t.TempDir()
	p, leaf := pairIn(dir, "ca"), pairIn(dir, "leaf")
	writeCA(t, p)
	lab.Must(t, leaf.Make(names, nil))
	for _, tt := range []struct {
		pair Pair
		want string
	}{
		{leaf, "is not the certificate of a CA"},
		{Pair{p.Cert, leaf.Key}, "is not the key of"},
		{Pair{p.Cert, p.Cert}, "holds no private key in PEM"},
		{pairIn(dir, "missing"), "missing.crt"},
	} {
		if _, err := LoadCA(tt.pair); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("LoadCA(%v) = %v, want %q", tt.pair, err, tt.want)
		}
	}
}
