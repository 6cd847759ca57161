package pki

import (
	"crypto/x509"
	"testing"
	"time"

	"kios/test/lab"
)

func TestNewCAFor(t *testing.T) {
	ca, err := NewCAFor("short", time.Hour)
	lab.Must(t, err)
	pair, err := ca.Client("alice")
	lab.Must(t, err)
	if cert := parse(t, pair); cert.NotAfter.After(ca.Certificate().NotAfter) {
		t.Errorf("the certificate ends on %s, after its authority, %s", cert.NotAfter, ca.Certificate().NotAfter)
	}
}

func TestLoadCA(t *testing.T) {
	ca, _ := newCA(t)
	key, err := ca.Key()
	lab.Must(t, err)
	loaded, err := LoadCA(Pair{Cert: ca.Cert(), Key: key})
	lab.Must(t, err)
	pair, err := loaded.Peer("localhost", "127.0.0.1")
	lab.Must(t, err)
	cert := parse(t, pair)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("Verify(usage %d) = %v", use, err)
		}
	}
}

func TestLoadCABad(t *testing.T) {
	ca, _ := newCA(t)
	key, err := ca.Key()
	lab.Must(t, err)
	leaf, err := ca.Client("alice")
	lab.Must(t, err)
	for name, p := range map[string]Pair{
		"nothing":         {},
		"a leaf":          leaf,
		"another's key":   {Cert: ca.Cert(), Key: leaf.Key},
		"half a key":      {Cert: ca.Cert(), Key: key[:len(key)/2]},
		"half a cert":     {Cert: ca.Cert()[:100], Key: key},
		"exchanged files": {Cert: key, Key: ca.Cert()},
	} {
		if _, err := LoadCA(p); err == nil {
			t.Errorf("LoadCA(%s) succeeded", name)
		}
	}
}

func TestPublicKey(t *testing.T) {
	key, err := NewKey()
	lab.Must(t, err)
	if _, err := PublicKey(key); err != nil {
		t.Errorf("PublicKey() = %v", err)
	}
	if _, err := PublicKey([]byte("x")); err == nil {
		t.Error("PublicKey(x) succeeded")
	}
}
