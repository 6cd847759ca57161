package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"sigs.k8s.io/yaml"

	"kios/internal/pki"
)

// kubeconfig is as much of clientcmd/v1.Config as clusters of one user take
// (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/).
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Cert  []byte `json:"client-certificate-data,omitempty"`
		Key   []byte `json:"client-key-data,omitempty"`
		Token string `json:"token,omitempty"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// newKubeconfig makes one for a user that has yet to be given credentials.
func (c *Cluster) newKubeconfig(server, user string) kubeconfig {
	k := kubeconfig{APIVersion: "v1", Kind: "Config", CurrentContext: user + "@" + c.cfg.Name}
	k.Clusters = make([]namedCluster, 1)
	k.Clusters[0].Name = c.cfg.Name
	k.Clusters[0].Cluster.Server = server
	k.Clusters[0].Cluster.CA = c.CA()
	k.Users = make([]namedUser, 1)
	k.Users[0].Name = user
	k.Contexts = make([]namedContext, 1)
	k.Contexts[0].Name = k.CurrentContext
	k.Contexts[0].Context.Cluster, k.Contexts[0].Context.User = c.cfg.Name, user
	return k
}

// kubeconfig makes one for the user of a certificate.
func (c *Cluster) kubeconfig(server, user string, p pki.Pair) ([]byte, error) {
	k := c.newKubeconfig(server, user)
	k.Users[0].User.Cert, k.Users[0].User.Key = p.Cert, p.Key
	return yaml.Marshal(k)
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
	return replace(c.path(name), text, 0o600)
}

// pairOf returns the certificate and key of a kubeconfig's first user.
func pairOf(text []byte) (p pki.Pair) {
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil || len(k.Users) == 0 {
		return p
	}
	return pki.Pair{Cert: k.Users[0].User.Cert, Key: k.Users[0].User.Key}
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
