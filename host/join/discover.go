package join

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"kios/host/kubeconfig"
)

// Bounds of asking an API server.
const (
	askFor  = 20 * time.Second
	maxInfo = 1 << 20 // bytes
)

// FetchCA asks the API server for the cluster's authority, as kubeadm join does:
// clusters of kubeadm show it to everybody, in the ConfigMap cluster-info. The
// answer is not trusted. Those certificates in it are returned whose public keys
// have one of the hashes, sha256:HEX, and the server must have a certificate of
// one of them.
func FetchCA(ctx context.Context, server string, hashes []string) ([]byte, error) {
	address, err := ServerURL(server)
	if err != nil {
		return nil, err
	}
	for _, h := range hashes {
		if err := checkHash(h); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	// The answer itself shows which server this is.
	text, err := ask(ctx, address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	offered, err := offeredCA(text)
	if err != nil {
		return nil, fmt.Errorf("read cluster-info: %w", err)
	}
	ca, pool, err := pick(offered, hashes)
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, address, &tls.Config{RootCAs: pool}); err != nil {
		return nil, err
	}
	return ca, nil
}

func checkHash(text string) error {
	digits, found := strings.CutPrefix(text, "sha256:")
	if sum, err := hex.DecodeString(digits); !found || err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%q is not the hash of a CA: it must be sha256: and 64 hexadecimal digits, as kubeadm token create --print-join-command prints it", text)
	}
	return nil
}

// ask gets the ConfigMap.
func ask(ctx context.Context, server string, config *tls.Config) ([]byte, error) {
	config.MinVersion = tls.VersionTLS12
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/api/v1/namespaces/kube-public/configmaps/cluster-info", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the API server for cluster-info: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API server does not show cluster-info (%s): give the cluster's CA as a file", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxInfo))
}

// offeredCA finds the authority in the ConfigMap, which holds a kubeconfig.
func offeredCA(text []byte) ([]byte, error) {
	var info struct{ Data struct{ Kubeconfig string } }
	if err := json.Unmarshal(text, &info); err != nil {
		return nil, err
	}
	k, err := kubeconfig.Parse([]byte(info.Data.Kubeconfig))
	if err != nil {
		return nil, err
	}
	if len(k.Clusters) == 0 {
		return nil, errors.New("its kubeconfig has no cluster")
	}
	return k.Clusters[0].Cluster.CA()
}

// pick returns the certificates that have one of the hashes. The hash is that of
// the public key (Subject Public Key Info, RFC 7469).
func pick(offered []byte, hashes []string) ([]byte, *x509.CertPool, error) {
	var picked bytes.Buffer
	pool := x509.NewCertPool()
	var seen []string
	for block, rest := pem.Decode(offered); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("read the cluster's CA: %w", err)
		}
		sum := fmt.Sprintf("sha256:%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
		seen = append(seen, sum)
		if slices.ContainsFunc(hashes, func(h string) bool { return strings.EqualFold(h, sum) }) {
			pool.AddCert(cert)
			pem.Encode(&picked, block) // into memory: it does not fail
		}
	}
	if picked.Len() == 0 {
		return nil, nil, fmt.Errorf("the API server has a CA with the hash %s, not the one that was given: this is another cluster, or somebody intercepts the connection", strings.Join(seen, " "))
	}
	return picked.Bytes(), pool, nil
}
