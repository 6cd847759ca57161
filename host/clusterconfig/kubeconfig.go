package clusterconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"kios/host/pki"
	"kios/internal/kubeconfig"
	"kios/internal/wholefile"
)

// kubeconfig makes one for the user of a certificate.
func (c *Cluster) kubeconfig(server, user string, p pki.Pair) ([]byte, error) {
	return kubeconfig.New(user+"@"+c.cfg.Name,
		kubeconfig.NamedCluster{Name: c.cfg.Name, Cluster: kubeconfig.Cluster{Server: server, CAData: kubeconfig.Data(c.CA())}},
		kubeconfig.NamedUser{Name: user, User: kubeconfig.User{CertData: kubeconfig.Data(p.Cert), KeyData: kubeconfig.Data(p.Key)}},
	).Marshal()
}

// The users of the control plane's kubeconfigs. The administrator's group may
// do everything, also while there are no roles yet.
func (c *Cluster) kubeconfigs() map[string]leaf {
	ca := c.pki.cluster
	return map[string]leaf{
		adminConf:                 {ca: ca, user: "kubernetes-admin", organizations: []string{"system:masters"}},
		"controller-manager.conf": {ca: ca, user: "system:kube-controller-manager"},
		"scheduler.conf":          {ca: ca, user: "system:kube-scheduler"},
		// The name of a service account, so that the role is bound in the same
		// way where the approver runs as a pod of a Deployment.
		"approver.conf": {ca: ca, user: "system:serviceaccount:kube-system:kubelet-serving-approver"},
	}
}

const adminConf = "admin.conf"

// loopback is the API server for what is on the same machine: that works while
// the machine has no address, and when it has a new one.
func (c *Cluster) loopback() string { return "https://127.0.0.1:" + strconv.Itoa(c.port) }

func (c *Cluster) openKubeconfigs() error {
	for name, l := range c.kubeconfigs() {
		server := c.loopback()
		if name == adminConf {
			server = "https://" + c.cfg.Endpoint
		}
		if err := c.ensureKubeconfig(name, server, l); err != nil {
			return err
		}
	}
	return nil
}

// ensureKubeconfig keeps the certificate that is in the file if it fits.
func (c *Cluster) ensureKubeconfig(name, server string, l leaf) error {
	now, err := os.ReadFile(c.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	pair := pairOf(now)
	if cert, _, err := pair.Parse(); err != nil || !l.fits(cert) {
		if pair, err = l.make(); err != nil {
			return err
		}
	}
	text, err := c.kubeconfig(server, l.user, pair)
	if err != nil || bytes.Equal(text, now) {
		return err
	}
	return wholefile.Durable(c.path(name), text, 0o600)
}

// pairOf returns the certificate and key of a kubeconfig, or nothing of one that
// is spoilt.
func pairOf(text []byte) (p pki.Pair) {
	k, err := kubeconfig.Parse(text)
	if err != nil {
		return p
	}
	_, u, err := k.Current()
	if err != nil {
		return p
	}
	if p.Cert, p.Key, err = u.Pair(); err != nil {
		return pki.Pair{}
	}
	return p
}

// Kubeconfig returns the administrator's, with a server as the caller reaches
// it, such as "https://127.0.0.1:16443", which must be one that the API server
// serves under; "" is the endpoint.
func (c *Cluster) Kubeconfig(server string) ([]byte, error) {
	if server == "" {
		server = "https://" + c.cfg.Endpoint
	}
	text, err := os.ReadFile(c.path(adminConf))
	if err != nil {
		return nil, fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	return c.kubeconfig(server, c.kubeconfigs()[adminConf].user, pairOf(text))
}
