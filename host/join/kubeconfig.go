package join

import (
	"crypto/tls"
	"errors"
	"fmt"
	"path"
	"strings"

	"kios/internal/discovery"
	"kios/internal/kubeconfig"
)

// readyKubeconfig puts a kubeconfig where the kubelet looks for one of its kind.
func readyKubeconfig(text []byte) ([]File, error) {
	k, err := kubeconfig.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c, u, err := k.Current()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if err := errors.Join(checkPaths(c, u), checkPair(u)); err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if discovery.IsBootstrap(u) {
		return []File{{bootstrapPath, 0o600, text}}, nil
	}
	return []File{{kubeconfigPath, 0o600, text}}, nil
}

// checkPaths refuses files of this machine: the node has its own. Those that it
// has, or gets from a pod, are in /etc and /var.
func checkPaths(c kubeconfig.Cluster, u kubeconfig.User) error {
	for _, p := range []struct{ field, path string }{
		{"certificate-authority", c.CAFile},
		{"client-certificate", u.CertFile},
		{"client-key", u.KeyFile},
		{"tokenFile", u.TokenFile},
	} {
		clean := path.Clean(p.path)
		if p.path != "" && !strings.HasPrefix(clean, "/etc/") && !strings.HasPrefix(clean, "/var/") {
			return fmt.Errorf("%s is %s, which a node does not have: give a file below /etc or /var of the node, or embed the file with kubectl config view --raw --flatten --minify", p.field, p.path)
		}
	}
	return nil
}

// checkPair finds half a client certificate, and one that is not for its key.
func checkPair(u kubeconfig.User) error {
	cert, key := u.CertFile+u.CertData != "", u.KeyFile+u.KeyData != ""
	if cert != key {
		return fmt.Errorf("the user needs both a client certificate (found: %t) and its key (found: %t)", cert, key)
	}
	if u.CertData == "" || u.KeyData == "" {
		return nil
	}
	certPEM, keyPEM, err := u.Pair()
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return fmt.Errorf("the user's client certificate: %w", err)
	}
	return nil
}
