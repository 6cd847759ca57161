package discovery

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"kios/internal/kubeconfig"
)

// ErrRefused says that the API server has answered, and does not show what was asked for.
var ErrRefused = errors.New("the API server does not show it")

// maxAnswer is the size of a ConfigMap, which is at most 1 MiB, as JSON may write it.
const maxAnswer = 4 << 20 // bytes

// ConfigMap asks the API server of c for the data of a ConfigMap, as a user.
func (c Cluster) ConfigMap(ctx context.Context, u kubeconfig.User, namespace, name string) (map[string]string, error) {
	trust := &tls.Config{RootCAs: pool(c.CA)}
	if u.CertData != "" {
		pair, err := clientPair(u)
		if err != nil {
			return nil, err
		}
		trust.Certificates = []tls.Certificate{pair}
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return configMap(ctx, request{c.Server, u.Token, trust}, namespace, name)
}

func clientPair(u kubeconfig.User) (tls.Certificate, error) {
	cert, key, err := u.Pair()
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// request is whom to ask, and as whom.
type request struct {
	server string
	token  string // "" for nobody
	trust  *tls.Config
}

func configMap(ctx context.Context, r request, namespace, name string) (map[string]string, error) {
	text, err := r.get(ctx, "/api/v1/namespaces/"+namespace+"/configmaps/"+name)
	if err != nil {
		return nil, fmt.Errorf("ask the API server for %s: %w", name, err)
	}
	var object struct{ Data map[string]string }
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("ask the API server for %s: %w", name, err)
	}
	return object.Data, nil
}

func (r request) get(ctx context.Context, path string) ([]byte, error) {
	r.trust.MinVersion = tls.VersionTLS12
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: r.trust}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server+path, nil)
	if err != nil {
		return nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := (&http.Client{Transport: transport, CheckRedirect: stay}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w (%.100s)", ErrRefused, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// stay keeps to the server whose certificate was checked.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
