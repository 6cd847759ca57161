// Package discovery finds out which cluster is behind the address of an API server, and
// whether it is the one that was meant, as kubeadm join does. Clusters of kubeadm show what
// they are to everybody, in the ConfigMap cluster-info: a kubeconfig with the cluster's
// address and authority. Either a hash of the authority's key or the secret of a bootstrap
// token, with which the cluster signs that kubeconfig, shows that it is the right one.
//
// It makes no kubeconfigs, and tries once: callers on a node try again. It follows
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/.
package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"kios/internal/kubeconfig"
)

// askFor bounds all that one call asks.
const askFor = 20 * time.Second

// maxCAs are more certificates than any cluster's authority has.
const maxCAs = 32

// Cluster is a cluster that is known to be the right one.
type Cluster struct {
	Server string // a URL, as the cluster gives it to its nodes
	CA     []byte // the authority's certificates in PEM
}

// Pinned asks an API server for its cluster, of whose authority hashes are known,
// sha256:HEX. Those certificates are returned whose public keys have one of the hashes,
// and the server must have a certificate of one of them.
func Pinned(ctx context.Context, server string, hashes []string) (Cluster, error) {
	for _, h := range hashes {
		if err := CheckHash(h); err != nil {
			return Cluster{}, err
		}
	}
	return find(ctx, server, func(info info) ([]byte, error) {
		offered, err := info.cluster()
		if err != nil {
			return nil, err
		}
		return pick(offered.CA, hashes)
	})
}

// Signed asks an API server for its cluster, which must know the bootstrap token. Whoever
// else has the token could pretend to be that cluster.
func Signed(ctx context.Context, server, token string) (Cluster, error) {
	if err := CheckToken(token); err != nil {
		return Cluster{}, err
	}
	return find(ctx, server, func(info info) ([]byte, error) {
		if err := info.verify(token); err != nil {
			return nil, err
		}
		offered, err := info.cluster()
		if err == nil {
			err = CheckCA(offered.CA)
		}
		return offered.CA, err
	})
}

// find asks twice. Trust finds in the first answer, which may be anybody's, whom to
// believe; the second one is that server's.
func find(ctx context.Context, server string, trust func(info) ([]byte, error)) (Cluster, error) {
	address, err := ServerURL(server)
	if err != nil {
		return Cluster{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	first, err := clusterInfo(ctx, address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return Cluster{}, err
	}
	ca, err := trust(first)
	if err != nil {
		return Cluster{}, err
	}
	second, err := clusterInfo(ctx, address, &tls.Config{RootCAs: pool(ca)})
	if err != nil {
		return Cluster{}, err
	}
	c, err := second.cluster()
	if err != nil {
		return Cluster{}, err
	}
	if u, err := url.Parse(c.Server); err == nil && u.Scheme == "https" && u.Hostname() != "" {
		address = c.Server
	}
	return Cluster{address, ca}, nil
}

func pool(ca []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(ca)
	return p
}

// info is the data of cluster-info.
type info map[string]string

// kubeconfigKey is where it has the kubeconfig.
const kubeconfigKey = "kubeconfig"

func clusterInfo(ctx context.Context, server string, trust *tls.Config) (info, error) {
	data, err := configMap(ctx, request{server: server, trust: trust}, "kube-public", "cluster-info")
	if errors.Is(err, ErrRefused) {
		return nil, fmt.Errorf("%w: clusters of kubeadm show it to everybody; of another cluster, give the CA", err)
	}
	return data, err
}

// cluster returns what the kubeconfig says. It may be anybody's so far, so it is not to become
// larger than it is: kubeadm writes no aliases of YAML, which stand for more than their name.
func (i info) cluster() (Cluster, error) {
	if strings.Contains(i[kubeconfigKey], "*") {
		return Cluster{}, errors.New("read cluster-info: its kubeconfig has aliases of YAML, as that of no cluster has")
	}
	k, err := kubeconfig.Parse([]byte(i[kubeconfigKey]))
	if err != nil {
		return Cluster{}, fmt.Errorf("read cluster-info: %w", err)
	}
	if len(k.Clusters) == 0 {
		return Cluster{}, errors.New("read cluster-info: its kubeconfig has no cluster")
	}
	c := k.Clusters[0].Cluster
	ca, err := c.CA()
	if err != nil {
		return Cluster{}, fmt.Errorf("read cluster-info: %w", err)
	}
	return Cluster{c.Server, ca}, nil
}

// CheckHash tells whether a text has the form of an authority's hash.
func CheckHash(text string) error {
	digits, found := strings.CutPrefix(text, "sha256:")
	if sum, err := hex.DecodeString(digits); !found || err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%.100q is not the hash of a CA: it must be sha256: and 64 hexadecimal digits, as kubeadm token create --print-join-command prints it", text)
	}
	return nil
}

// pick returns the certificates that have one of the hashes. The hash is that of
// the public key (Subject Public Key Info, RFC 7469).
func pick(offered []byte, hashes []string) ([]byte, error) {
	var picked bytes.Buffer
	var seen []string
	for block, rest := pem.Decode(offered); block != nil && len(seen) < maxCAs; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the cluster's CA: %w", err)
		}
		sum := fmt.Sprintf("sha256:%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
		seen = append(seen, sum)
		if slices.ContainsFunc(hashes, func(h string) bool { return strings.EqualFold(h, sum) }) {
			pem.Encode(&picked, block) // into memory: it does not fail
		}
	}
	if picked.Len() == 0 {
		return nil, fmt.Errorf("the API server has a CA with the hash %s, not the one that was given: this is another cluster, or somebody intercepts the connection", strings.Join(seen, " "))
	}
	return picked.Bytes(), nil
}
