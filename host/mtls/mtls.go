// Package mtls gets what an HTTPS server has at its paths, where both sides prove
// who they are by certificates: the host's way to a kubelet and to an API server.
//
// It knows nothing of Kubernetes, follows no proxy of the environment, since its
// servers are machines of this host, and sends no bodies.
package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 64 << 20

// Options say where a server is and how both sides prove who they are.
type Options struct {
	URL        string        // https://host:port
	ServerName string        // what the server's certificate must be for; the URL's host if empty
	CA         []byte        // PEM: who must have signed it (itself, if it is self-signed)
	Cert, Key  []byte        // PEM: the client's
	Timeout    time.Duration // of one request; 0 for none but the context's
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
	most int64 // bytes of an answer
}

// New returns a client; it does not connect yet.
func New(o Options) (*Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("the authority has no certificate in PEM")
	}
	pair, err := tls.X509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{
			RootCAs:      roots,
			Certificates: []tls.Certificate{pair},
			ServerName:   o.ServerName,
			MinVersion:   tls.VersionTLS12,
		},
		// QEMU accepts connections for a guest that does not answer yet; the
		// handshake is where that shows.
		TLSHandshakeTimeout: 20 * time.Second,
		IdleConnTimeout:     30 * time.Second,
	}
	return &Client{url: o.URL, http: &http.Client{Transport: transport, Timeout: o.Timeout}, most: maxBody}, nil
}

// URL returns that of the server.
func (c *Client) URL() string { return c.url }

// Close drops idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer other than 200.
type StatusError struct {
	Request string // method and path
	Code    int
	Body    string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.Request, e.Code, http.StatusText(e.Code), e.Body)
}

// Get returns the body of a path.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path)
}

// Post makes a request with an empty body and returns that of the answer.
func (c *Client) Post(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodPost, path)
}

// GetJSON reads the JSON object at a path.
func (c *Client) GetJSON(ctx context.Context, path string, into any) error {
	body, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, c.most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	case int64(len(body)) > c.most:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, c.most)
	case response.StatusCode != http.StatusOK:
		return nil, &StatusError{Request: method + " " + path, Code: response.StatusCode, Body: strings.TrimSpace(string(body))}
	}
	return body, nil
}
