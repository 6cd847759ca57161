package clusterconfig

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"kios/test/lab"
)

func certificate(t *testing.T, c *Cluster, path string) *x509.Certificate {
	t.Helper()
	pair, err := c.readPair(path)
	lab.Must(t, err)
	cert, _, err := pair.Parse()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return cert
}

func TestServerNames(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	cert := certificate(t, c, "pki/apiserver")
	for _, name := range []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"10.96.0.1", "10.77.0.10", "127.0.0.1", "::1", "localhost", "api.example",
	} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestLeaves(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	for _, l := range c.leaves() {
		cert := certificate(t, c, l.path)
		if !l.fits(cert) {
			t.Errorf("%s does not fit: it is for %s %v %v", l.path, cert.Subject, cert.DNSNames, cert.IPAddresses)
		}
		if left := time.Until(cert.NotAfter); left < 360*24*time.Hour || left > 366*24*time.Hour {
			t.Errorf("%s lives for %s, want a year", l.path, left)
		}
		other := l
		other.ca = c.pki.frontProxy
		if l.ca == c.pki.frontProxy {
			other.ca = c.pki.cluster
		}
		if other.fits(cert) {
			t.Errorf("%s passes for one of another authority", l.path)
		}
	}
	for name, ca := range map[string]interface{ Certificate() *x509.Certificate }{"cluster": c.pki.cluster, "etcd": c.pki.etcd, "front proxy": c.pki.frontProxy} {
		if left := time.Until(ca.Certificate().NotAfter); left < 9*365*24*time.Hour {
			t.Errorf("the authority of the %s lives for %s, want ten years", name, left)
		}
	}
}

func TestFits(t *testing.T) {
	c := open(t, t.TempDir(), testConfig)
	var l leaf
	for _, l = range c.leaves() {
		if l.path == "pki/apiserver" {
			break
		}
	}
	good := certificate(t, c, l.path)
	near := *good
	near.NotAfter = time.Now().Add(renewBefore - time.Hour)
	named := *good
	named.Subject = pkix.Name{CommonName: "other"}
	more := *good
	more.DNSNames = append([]string{"old.example"}, good.DNSNames...)
	for name, cert := range map[string]*x509.Certificate{"one near its end": &near, "another subject": &named, "a name too many": &more} {
		if l.fits(cert) {
			t.Errorf("%s fits, want it made anew", name)
		}
	}
}
