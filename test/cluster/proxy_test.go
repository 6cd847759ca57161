//go:build cluster

package cluster

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
)

const proxyPort = 3128

// proxy is an HTTP proxy beside the control plane. Only it knows some hosts, such as
// those behind a company's proxy.
type proxy struct {
	env   *env
	hosts map[string]string // HOST:PORT to an address

	mu    sync.Mutex
	asked []string // HOST:PORT
}

func (e *env) startProxy(hosts map[string]string) *proxy {
	e.t.Helper()
	p := &proxy{env: e, hosts: hosts}
	e.serve(proxyPort, p)
	return p
}

// requests returns the hosts that it was asked for, each once.
func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.asked)
	return slices.Compact(slices.Clone(p.asked))
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Host)
	p.mu.Unlock()
	to := p.hosts[r.Host]
	switch {
	case to == "":
		http.Error(w, "the proxy does not know "+r.Host, http.StatusBadGateway)
	case r.Method == http.MethodConnect:
		p.tunnel(w, r, to)
	default:
		p.forward(w, r, to)
	}
}

// tunnel connects a client with a host, for TLS.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request, to string) {
	far, err := p.env.dial(r.Context(), "tcp", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	fmt.Fprint(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	ended := make(chan bool, 2)
	go func() { io.Copy(far, near); ended <- true }()
	go func() { io.Copy(near, far); ended <- true }()
	<-ended
}

// forward hands on a request without TLS.
func (p *proxy) forward(w http.ResponseWriter, r *http.Request, to string) {
	forward := httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: to}); r.Out.Host = r.In.Host },
		Transport: &http.Transport{DialContext: p.env.dial, DisableKeepAlives: true},
	}
	forward.ServeHTTP(w, r)
}
