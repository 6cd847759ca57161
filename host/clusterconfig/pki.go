package clusterconfig

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"kios/host/pki"
	"kios/internal/wholefile"
)

const (
	// caLife is long, since a new authority is a new cluster.
	caLife = 10 * 365 * 24 * time.Hour
	// renewBefore is when a certificate, which lives for a year, is made anew: a
	// cluster that is opened once in a quarter never has one that expired.
	renewBefore = 90 * 24 * time.Hour
)

// authorities are the three of a cluster. They are separate because what one
// signs must not pass for what another does: a kubelet's certificate opens
// neither etcd nor the door of the front proxy, which may say who its users are.
type authorities struct{ cluster, frontProxy, etcd *pki.CA }

func (c *Cluster) openPKI() error {
	c.pki = &authorities{}
	for _, a := range []struct {
		ca         **pki.CA
		name, path string
	}{
		{&c.pki.cluster, "kubernetes", "pki/ca"},
		{&c.pki.frontProxy, "front-proxy-ca", "pki/front-proxy-ca"},
		{&c.pki.etcd, "etcd-ca", "pki/etcd/ca"},
	} {
		ca, err := c.openCA(a.path, a.name)
		if err != nil {
			return err
		}
		*a.ca = ca
	}
	for _, l := range c.leaves() {
		if err := c.ensureLeaf(l); err != nil {
			return err
		}
	}
	return c.openServiceAccountKey()
}

// leaf is a certificate of the control plane. It is for a server if it has
// names, and for a client if it has a user.
type leaf struct {
	path          string // without .crt and .key
	ca            *pki.CA
	names         []string
	user          string
	organizations []string
	peer          bool // server and client in one
}

// leaves are those of kubeadm, without etcd's healthcheck-client: etcd is probed
// at its metrics' address.
func (c *Cluster) leaves() []leaf {
	local := []string{"localhost", "127.0.0.1", "::1"}
	return []leaf{
		{path: "pki/apiserver", ca: c.pki.cluster, names: c.serverNames()},
		// In no group: it may do what the add-ons' role for it says, which is to
		// use kubelets, where kubeadm's is a full administrator's.
		{path: "pki/apiserver-kubelet-client", ca: c.pki.cluster, user: kubeletClient},
		{path: "pki/front-proxy-client", ca: c.pki.frontProxy, user: "front-proxy-client"},
		{path: "pki/apiserver-etcd-client", ca: c.pki.etcd, user: "kube-apiserver-etcd-client"},
		{path: "pki/etcd/server", ca: c.pki.etcd, names: local, peer: true}, // etcd calls itself, through its gateway
		{path: "pki/etcd/peer", ca: c.pki.etcd, names: local, peer: true},
	}
}

// kubeletClient is the name of the API server as kubelets see it.
const kubeletClient = "kube-apiserver-kubelet-client"

// serverNames are those under which the API server is reached.
func (c *Cluster) serverNames() []string {
	names := []string{
		"kube-apiserver",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		c.apiService(), "localhost", "127.0.0.1", "::1", c.host,
	}
	names = append(names, c.cfg.Names...)
	slices.Sort(names[1:]) // the first one is the certificate's common name
	return slices.Compact(names)
}

func (l leaf) make() (pki.Pair, error) {
	switch {
	case l.peer:
		return l.ca.Peer(l.names...)
	case l.names != nil:
		return l.ca.Server(l.names...)
	}
	return l.ca.Client(l.user, l.organizations...)
}

// fits reports whether a certificate can be kept.
func (l leaf) fits(cert *x509.Certificate) bool {
	roots := x509.NewCertPool()
	roots.AddCert(l.ca.Certificate())
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	subject := l.names
	if l.names == nil {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		subject = []string{l.user}
	}
	soon := time.Now().Add(renewBefore)
	if end := l.ca.Certificate().NotAfter; soon.After(end) {
		soon = end // a new one would not live longer
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages, CurrentTime: soon})
	return err == nil && cert.Subject.CommonName == subject[0] &&
		slices.Equal(cert.Subject.Organization, l.organizations) && sameNames(cert, l.names)
}

// sameNames reports whether a certificate is for these names and no others: one
// that the cluster does not serve under any more may be somebody else's now.
func sameNames(cert *x509.Certificate, want []string) bool {
	have := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	var names []string
	for _, name := range want {
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String() // as a certificate would give it back
		}
		names = append(names, name)
	}
	slices.Sort(have)
	slices.Sort(names)
	return slices.Equal(have, names)
}

func (c *Cluster) ensureLeaf(l leaf) error {
	pair, err := c.readPair(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A damaged one, and one of which only a half was written, is made again.
	if cert, _, err := pair.Parse(); err == nil && l.fits(cert) {
		return nil
	}
	if pair, err = l.make(); err != nil {
		return err
	}
	return c.writePair(l.path, pair)
}

func (c *Cluster) openCA(path, name string) (*pki.CA, error) {
	pair, err := c.readPair(path)
	if errors.Is(err, fs.ErrNotExist) && pair.Cert == nil && !c.complete() {
		return c.makeCA(path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; restore it from your backup, because the cluster cannot exist without it", err)
	}
	ca, err := pki.LoadCA(pair)
	if err != nil {
		return nil, fmt.Errorf("read %s and its key: %w", c.path(path+".crt"), err)
	}
	if end := ca.Certificate().NotAfter; time.Now().After(end) {
		return nil, fmt.Errorf("%s expired on %s; make a new cluster in another directory", c.path(path+".crt"), end.Format(time.DateOnly))
	}
	return ca, nil
}

// complete reports whether all keys have been made once: this one is the last. What
// is missing then was lost.
func (c *Cluster) complete() bool {
	_, err := os.Stat(c.path("pki/sa.key"))
	return err == nil
}

func (c *Cluster) makeCA(path, name string) (*pki.CA, error) {
	ca, err := pki.NewCAFor(name, caLife)
	if err != nil {
		return nil, err
	}
	key, err := ca.Key()
	if err != nil {
		return nil, err
	}
	return ca, c.writePair(path, pki.Pair{Cert: ca.Cert(), Key: key})
}

// readPair returns what there is of a pair, and the error of what there is not.
func (c *Cluster) readPair(path string) (p pki.Pair, err error) {
	var certErr, keyErr error
	p.Cert, certErr = os.ReadFile(c.path(path + ".crt"))
	p.Key, keyErr = os.ReadFile(c.path(path + ".key"))
	return p, errors.Join(certErr, keyErr)
}

// writePair puts the key in place first: a certificate that is there says that
// the pair is complete.
func (c *Cluster) writePair(path string, p pki.Pair) error {
	if err := wholefile.Durable(c.path(path+".key"), p.Key, 0o600); err != nil {
		return err
	}
	return wholefile.Durable(c.path(path+".crt"), p.Cert, 0o600)
}

// openServiceAccountKey keeps the key that signs the tokens of service accounts.
// Only who has the whole of it may: others check with its public half.
func (c *Cluster) openServiceAccountKey() error {
	key, err := os.ReadFile(c.path("pki/sa.key"))
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = pki.NewKey(); err == nil {
			err = wholefile.Durable(c.path("pki/sa.key"), key, 0o600)
		}
	}
	if err != nil {
		return err
	}
	public, err := pki.PublicKey(key)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.path("pki/sa.key"), err)
	}
	if now, err := os.ReadFile(c.path("pki/sa.pub")); err == nil && bytes.Equal(now, public) {
		return nil
	}
	return wholefile.Durable(c.path("pki/sa.pub"), public, 0o600)
}
