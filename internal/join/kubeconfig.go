package join

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// kubeconfig is as much of one as is made or looked at here.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string  `json:"name"`
	Cluster cluster `json:"cluster"`
}

type cluster struct {
	Server string `json:"server"`
	CAFile string `json:"certificate-authority,omitempty"`
	CAData string `json:"certificate-authority-data,omitempty"`
}

type namedUser struct {
	Name string `json:"name"`
	User user   `json:"user"`
}

type user struct {
	Token     string `json:"token,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
	CertFile  string `json:"client-certificate,omitempty"`
	CertData  string `json:"client-certificate-data,omitempty"`
	KeyFile   string `json:"client-key,omitempty"`
	KeyData   string `json:"client-key-data,omitempty"`
	Exec      *exec  `json:"exec,omitempty"`
}

type exec struct {
	Command string `json:"command"`
}

type namedContext struct {
	Name    string     `json:"name"`
	Context contextRef `json:"context"`
}

type contextRef struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// bootstrapConfig returns a kubeconfig with a bootstrap token. The authority is
// named by its file, which is the one place to change it; the kubelet does the
// same in the kubeconfig that it makes of this one.
func bootstrapConfig(server, token string) kubeconfig {
	return kubeconfig{
		APIVersion: "v1", Kind: "Config",
		Clusters:       []namedCluster{{"cluster", cluster{Server: server, CAFile: "/etc/" + caPath}}},
		Users:          []namedUser{{"bootstrap", user{Token: token}}},
		Contexts:       []namedContext{{"bootstrap", contextRef{"cluster", "bootstrap"}}},
		CurrentContext: "bootstrap",
	}
}

// readyKubeconfig puts a kubeconfig where the kubelet looks for one of its kind.
func readyKubeconfig(text []byte) ([]File, error) {
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c, u, err := k.current()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if err := errors.Join(checkPaths(c, u), checkPair(u)); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if u.CertFile == "" && u.CertData == "" && token.MatchString(u.Token) {
		return []File{{bootstrapPath, 0o600, text}}, nil
	}
	return []File{{kubeconfigPath, 0o600, text}}, nil
}

// current returns the cluster and the user of the current context.
func (k kubeconfig) current() (c cluster, u user, err error) {
	var ref *contextRef
	for i := range k.Contexts {
		if k.Contexts[i].Name == k.CurrentContext {
			ref = &k.Contexts[i].Context
		}
	}
	if ref == nil {
		return c, u, fmt.Errorf("current-context is %q, and there is no context of that name", k.CurrentContext)
	}
	for _, n := range k.Clusters {
		if n.Name == ref.Cluster {
			c = n.Cluster
		}
	}
	for _, n := range k.Users {
		if n.Name == ref.User {
			u = n.User
		}
	}
	switch {
	case c.Server == "":
		return c, u, fmt.Errorf("the cluster %q of the current context names no server", ref.Cluster)
	case u == user{}:
		return c, u, fmt.Errorf("the user %q of the current context has no credentials", ref.User)
	}
	return c, u, nil
}

// checkPaths refuses files of this machine: the node has its own. Those that it
// has, or gets from a pod, are in /etc and /var.
func checkPaths(c cluster, u user) error {
	for _, p := range []struct{ field, path string }{
		{"certificate-authority", c.CAFile},
		{"client-certificate", u.CertFile},
		{"client-key", u.KeyFile},
		{"tokenFile", u.TokenFile},
	} {
		clean := path.Clean(p.path)
		if p.path != "" && !strings.HasPrefix(clean, "/etc/") && !strings.HasPrefix(clean, "/var/") {
			return fmt.Errorf("%s is %s, which a node does not have: name a file below /etc or /var of the node, or put its text in with kubectl config view --raw --flatten --minify", p.field, p.path)
		}
	}
	return nil
}

// checkPair finds half a client certificate, and one that is not for its key.
func checkPair(u user) error {
	cert, key := u.CertFile+u.CertData != "", u.KeyFile+u.KeyData != ""
	if cert != key {
		return fmt.Errorf("the user has a client certificate: %t, and a key for it: %t; it takes both", cert, key)
	}
	if u.CertData == "" || u.KeyData == "" {
		return nil
	}
	certPEM, err := base64.StdEncoding.DecodeString(u.CertData)
	if err != nil {
		return fmt.Errorf("client-certificate-data: %w", err)
	}
	keyPEM, err := base64.StdEncoding.DecodeString(u.KeyData)
	if err != nil {
		return fmt.Errorf("client-key-data: %w", err)
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return fmt.Errorf("the user's client certificate: %w", err)
	}
	return nil
}
