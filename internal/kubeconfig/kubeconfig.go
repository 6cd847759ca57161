// Package kubeconfig is as much of clientcmd/v1.Config as is made and read here:
// how one user gets at one cluster.
//
// It checks nothing but the form, and opens no files. It follows
// https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/.
package kubeconfig

import (
	"encoding/base64"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Config is a kubeconfig.
type Config struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []NamedCluster `json:"clusters"`
	Users          []NamedUser    `json:"users"`
	Contexts       []NamedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

// NamedCluster is a cluster with its name.
type NamedCluster struct {
	Name    string  `json:"name"`
	Cluster Cluster `json:"cluster"`
}

// Cluster is an API server and who must have signed its certificate: a file, or
// PEM in base64.
type Cluster struct {
	Server string `json:"server"`
	CAFile string `json:"certificate-authority,omitempty"`
	CAData string `json:"certificate-authority-data,omitempty"`
}

// NamedUser is a user with its name.
type NamedUser struct {
	Name string `json:"name"`
	User User   `json:"user"`
}

// User is what a client shows of itself.
type User struct {
	Token     string `json:"token,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
	CertFile  string `json:"client-certificate,omitempty"`
	CertData  string `json:"client-certificate-data,omitempty"` // PEM in base64
	KeyFile   string `json:"client-key,omitempty"`
	KeyData   string `json:"client-key-data,omitempty"` // PEM in base64
	Exec      *Exec  `json:"exec,omitempty"`
}

// Exec is a program that prints credentials.
type Exec struct {
	Command string `json:"command"`
}

// NamedContext is a context with its name.
type NamedContext struct {
	Name    string  `json:"name"`
	Context Context `json:"context"`
}

// Context names a cluster and a user of it.
type Context struct {
	Cluster string `json:"cluster"`
	User    string `json:"user"`
}

// New returns the kubeconfig of one user of one cluster, with a context that is
// the current one.
func New(context string, c NamedCluster, u NamedUser) Config {
	return Config{
		APIVersion: "v1", Kind: "Config",
		Clusters:       []NamedCluster{c},
		Users:          []NamedUser{u},
		Contexts:       []NamedContext{{context, Context{c.Name, u.Name}}},
		CurrentContext: context,
	}
}

// Bootstrap returns a kubeconfig with a bootstrap token. The authority is named by its
// file, which is the one place to change it; the kubelet does the same in the kubeconfig
// that it makes of this one.
func Bootstrap(server, caFile, token string) Config {
	return New("bootstrap",
		NamedCluster{Name: "cluster", Cluster: Cluster{Server: server, CAFile: caFile}},
		NamedUser{Name: "bootstrap", User: User{Token: token}})
}

// Parse reads a kubeconfig in YAML or JSON. Fields that are not known are ignored.
func Parse(text []byte) (k Config, err error) {
	return k, yaml.Unmarshal(text, &k)
}

// Marshal returns the kubeconfig in YAML.
func (k Config) Marshal() ([]byte, error) { return yaml.Marshal(k) }

// Current returns the cluster and the user of the current context.
func (k Config) Current() (c Cluster, u User, err error) {
	var ref *Context
	for i := range k.Contexts {
		if k.Contexts[i].Name == k.CurrentContext {
			ref = &k.Contexts[i].Context
		}
	}
	if ref == nil {
		return c, u, fmt.Errorf("current-context is %q, but there is no context of that name", k.CurrentContext)
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
		return c, u, fmt.Errorf("the cluster %q of the current context has no server", ref.Cluster)
	case u == User{}:
		return c, u, fmt.Errorf("the user %q of the current context has no credentials", ref.User)
	}
	return c, u, nil
}

// Data returns PEM as the fields for data have it.
func Data(pem []byte) string { return base64.StdEncoding.EncodeToString(pem) }

// CA returns the authority that is in the kubeconfig itself, in PEM.
func (c Cluster) CA() ([]byte, error) { return decode("certificate-authority-data", c.CAData) }

// Pair returns the client certificate and its key that are in the kubeconfig
// itself, in PEM.
func (u User) Pair() (cert, key []byte, err error) {
	if cert, err = decode("client-certificate-data", u.CertData); err != nil {
		return nil, nil, err
	}
	key, err = decode("client-key-data", u.KeyData)
	return cert, key, err
}

func decode(field, data string) ([]byte, error) {
	text, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return text, nil
}
