// Package kubeletapi reads a node's pods from its kubelet, over mutual TLS, and
// runs commands in them. It is how the host looks into a node that has neither
// a shell nor a Kubernetes API server.
//
// It knows the few fields that a person or a test asks for and imports nothing
// of Kubernetes. The paths are those of the kubelet's server
// (pkg/kubelet/server); the objects are v1 of the Kubernetes API.
package kubeletapi

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"kios/host/mtls"
)

// Port is the kubelet's.
const Port = 10250

// Options say where a kubelet is and how both sides prove who they are.
type Options struct {
	Addr       string // host:port
	ServerName string // what the serving certificate must be for; Addr's host if empty
	CA         []byte // PEM: who must have signed it (itself, if it is self-signed)
	Cert, Key  []byte // PEM: the client's
}

// Client talks to one kubelet. It is safe for concurrent use.
type Client struct{ server *mtls.Client }

// New returns a client; it does not connect yet.
func New(o Options) (*Client, error) {
	server, err := mtls.New(mtls.Options{URL: "https://" + o.Addr, ServerName: o.ServerName, CA: o.CA, Cert: o.Cert, Key: o.Key})
	if err != nil {
		return nil, fmt.Errorf("kubelet: %w", err)
	}
	return &Client{server}, nil
}

// Close drops idle connections. The client stays usable.
func (c *Client) Close() { c.server.Close() }

// Get returns the body of any of the kubelet's paths, such as
// "/logs/kubelet.log" or "/metrics". An answer other than 200 is an
// *mtls.StatusError.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	body, err := c.server.Get(ctx, path)
	return body, ofKubelet(err)
}

func ofKubelet(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kubelet: %w", err)
}

// Healthz returns nil if the kubelet says that it is healthy.
func (c *Client) Healthz(ctx context.Context) error {
	_, err := c.Get(ctx, "/healthz")
	return err
}

// Pods returns the pods that the kubelet is to run, with their state.
func (c *Client) Pods(ctx context.Context) ([]Pod, error) {
	body, err := c.Get(ctx, "/pods")
	if err != nil {
		return nil, err
	}
	return parsePods(body)
}

// Logs returns what a container has written so far. A pod from a file goes by
// the name that Pods returns, which ends in the node's.
func (c *Client) Logs(ctx context.Context, namespace, pod, container string) ([]byte, error) {
	return c.Get(ctx, join("containerLogs", namespace, pod, container))
}

// Run runs a command in a container, without a shell, and returns what it
// wrote to its standard output, followed by its standard error. A command that
// fails is an error, which holds its standard error.
//
// The kubelet splits the command at spaces, so no argument may be empty or
// hold one.
func (c *Client) Run(ctx context.Context, namespace, pod, container string, cmd ...string) ([]byte, error) {
	for _, arg := range cmd {
		if arg == "" || strings.Contains(arg, " ") {
			return nil, fmt.Errorf("kubelet: run in %s/%s: the argument %q is empty or holds a space, which this path of the kubelet cannot carry", namespace, pod, arg)
		}
	}
	path := join("run", namespace, pod, container) + "?cmd=" + url.QueryEscape(strings.Join(cmd, " "))
	out, err := c.server.Post(ctx, path)
	return out, ofKubelet(err)
}

func join(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// Summary is the part of /stats/summary that describes the node's memory.
type Summary struct {
	Node struct {
		Memory struct {
			AvailableBytes  uint64 `json:"availableBytes"`
			UsageBytes      uint64 `json:"usageBytes"`
			WorkingSetBytes uint64 `json:"workingSetBytes"`
		} `json:"memory"`
	} `json:"node"`
}

// Stats returns the node's resource use as the kubelet measures it.
func (c *Client) Stats(ctx context.Context) (Summary, error) {
	var s Summary
	err := c.server.GetJSON(ctx, "/stats/summary?only_cpu_and_memory=true", &s)
	return s, ofKubelet(err)
}
