package discovery

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"kios/internal/kubeconfig"
)

// defaultPort is that of API servers.
const defaultPort = "6443"

// ServerURL completes HOST, HOST:PORT or https://HOST:PORT.
func ServerURL(server string) (string, error) {
	text := server
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%.200q is not an API server: write HOST:PORT", server)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return "https://" + net.JoinHostPort(u.Hostname(), port), nil
}

// isToken knows the form of
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/.
func isToken(text string) bool {
	id, secret, _ := strings.Cut(text, ".")
	return len(id) == 6 && len(secret) == 16 && !strings.ContainsFunc(id+secret, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// CheckToken tells whether a token is a bootstrap token by its form. The error
// does not repeat it: what is wrong may be one letter of a secret.
func CheckToken(text string) error {
	switch {
	case text == "":
		return errors.New("the bootstrap token is missing; make one with kubeadm token create on the control plane")
	case !isToken(text):
		return errors.New("this is not a bootstrap token: it must be ID.SECRET, 6 and 16 lower-case letters and digits, as kubeadm token create prints it")
	}
	return nil
}

// IsBootstrap reports whether a user of a kubeconfig is a node that has yet to get a
// certificate: one with a bootstrap token.
func IsBootstrap(u kubeconfig.User) bool {
	return u.CertFile == "" && u.CertData == "" && isToken(u.Token)
}

// CheckCA finds out whether a kubelet would take the certificates.
func CheckCA(text []byte) error {
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("the file of the cluster's CA has a %.100s in it: give the certificate only, such as /etc/kubernetes/pki/ca.crt of the control plane", strings.ToLower(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("read the certificate of the cluster's CA: %w", err)
		}
		if !cert.IsCA {
			return fmt.Errorf("the certificate of %.100q is not a CA certificate: give the cluster's, such as /etc/kubernetes/pki/ca.crt of the control plane", cert.Subject.CommonName)
		}
		n++
	}
	if n == 0 {
		return errors.New("the file of the cluster's CA has no certificate in PEM")
	}
	return nil
}
