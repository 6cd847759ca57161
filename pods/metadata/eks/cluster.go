package eks

import (
	"cmp"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"kios/pods/metadata/want"
)

// Join makes the node a member of the cluster with this name, by the tokens that package
// aws makes. The endpoint is that of its API server; ca is PEM in base64. Both are as aws
// eks describe-cluster prints them.
func Join(n *want.Node, name, endpoint, ca string) error {
	server, errServer := server(endpoint)
	text, errCA := certificates(ca)
	switch {
	case errServer != nil && errCA != nil:
		return fmt.Errorf("%w; %w", errServer, errCA)
	case errServer != nil || errCA != nil:
		return cmp.Or(errServer, errCA)
	}
	n.Join = &want.Join{Server: server, CA: text, TokenFile: TokenFile}
	n.EKS = &want.EKS{Cluster: name}
	return nil
}

func server(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err == nil && u.User != nil {
		return "", errors.New("the endpoint has a user in it, which no API server of EKS wants: https://NAME")
	}
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("the endpoint %.200q is not the address of an API server: https://NAME", endpoint)
	}
	return strings.TrimRight(endpoint, "/"), nil
}

func certificates(text string) ([]byte, error) {
	ca, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if block, _ := pem.Decode(ca); err != nil || block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the certificate authority is not a certificate in base64, whole, as aws eks describe-cluster prints it")
	}
	return ca, nil
}
