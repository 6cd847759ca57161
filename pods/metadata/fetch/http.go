package fetch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialBound    = 3 * time.Second // these services are one hop away
	idleBound    = 5 * time.Second
	maxHeader    = 64 << 10
	maxRedirects = 5
)

// errRefused says that a token is no good, or that one is needed.
var errRefused = errors.New("it refuses to tell")

// send sends a request once.
func (c *Client) send(ctx context.Context, base, token string, r Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.bound, requestBound))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.method(), base+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, hide(err)
	}
	c.setHeader(request, token, r)
	response, err := c.client().Do(request)
	if err != nil {
		return nil, hide(err)
	}
	defer response.Body.Close()
	return read(response, r)
}

func (c *Client) setHeader(request *http.Request, token string, r Request) {
	request.Header.Set("User-Agent", "kiOS")
	for _, fields := range []map[string]string{c.Header, r.Header} {
		for key, value := range fields {
			request.Header.Set(key, value)
		}
	}
	if token != "" {
		request.Header.Set(c.Token.Header, token)
	}
}

// hide leaves out the URL, which may have secrets.
func hide(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		return inner.Err
	}
	return err
}

func read(response *http.Response, r Request) ([]byte, error) {
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
	case http.StatusNotFound:
		return nil, ErrAbsent
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%w (%d)", errRefused, response.StatusCode)
	default:
		return nil, fmt.Errorf("the answer is %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	body, err := readBody(response.Body, cmp.Or(r.Limit, Limit))
	if err == nil && r.Check != nil {
		err = r.Check(body)
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

func readBody(from io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("the answer has more than %d bytes", limit)
	}
	return body, nil
}

func (c *Client) client() *http.Client {
	if c.http == nil {
		c.http = &http.Client{
			Transport: &http.Transport{
				// A proxy is for what is outside. It would see, and could answer, what is for
				// this machine alone.
				Proxy:                  nil,
				DialContext:            c.dial,
				DisableCompression:     true, // else a small answer could become a large one
				MaxResponseHeaderBytes: maxHeader,
				MaxConnsPerHost:        1,
				IdleConnTimeout:        idleBound,
			},
			CheckRedirect: c.redirect,
		}
	}
	return c.http
}

func (c *Client) redirect(to *http.Request, via []*http.Request) error {
	from := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	case to.URL.Host != from.Host && !c.Anywhere:
		return fmt.Errorf("it redirects to another host, %q", to.URL.Host)
	case to.URL.Scheme != from.Scheme && to.URL.Scheme != "https":
		return fmt.Errorf("it redirects from %s to %s", from.Scheme, to.URL.Scheme)
	}
	return nil
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.LowPort {
		return dialLow(ctx, network, address)
	}
	return (&net.Dialer{Timeout: dialBound}).DialContext(ctx, network, address)
}

// Ports from 512 up to 1023 are for clients of root by tradition; see rresvport(3).
const (
	lowPorts  = 512
	firstPort = 512
	portTries = 32
)

// dialLow connects from a port below 1024. Others may have one, and the last connection
// from one may not be forgotten yet.
func dialLow(ctx context.Context, network, address string) (net.Conn, error) {
	start := rand.IntN(lowPorts)
	var err error
	for i := range portTries {
		dialer := net.Dialer{Timeout: dialBound, LocalAddr: &net.TCPAddr{Port: firstPort + (start+i)%lowPorts}}
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, address); err == nil {
			return conn, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, err
		}
	}
	return nil, err
}
