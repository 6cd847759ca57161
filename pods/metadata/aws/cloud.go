package aws

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"kios/internal/rfc1123"
)

// metadataServices is where EC2 has its metadata service. The second one is for
// machines without IPv4, and has to be enabled for the machine.
var metadataServices = []string{"169.254.169.254", "[fd00:ec2::254]"}

const (
	maxMetadata = 64 << 10 // bytes of one value; user data are not read here
	dialBound   = 2 * time.Second
	headerBound = 5 * time.Second // for the metadata service, which is in the same machine
	callBound   = 30 * time.Second

	metadataBound = 15 * time.Second // for a value, with all tries

	// expiryWindow is how long before their end credentials are replaced. A token is
	// good for 15 minutes, or as long as the credentials that signed it.
	expiryWindow = 15 * time.Minute
)

// Dial connects to a host and port.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Options say how to reach EC2. The zero value, with a Log, is right on a node.
type Options struct {
	Log      *log.Logger
	Metadata []string       // hosts of the metadata service, nil for EC2's
	Dial     Dial           // nil for the machine's network
	Roots    *x509.CertPool // nil for the system's
	Proxy    Proxy          // for requests to the APIs, nil for none
}

// Proxy returns the proxy of a request, nil for none.
type Proxy func(*http.Request) (*url.URL, error)

// Cloud is EC2 as this machine sees it. Its methods may be called at the same time.
type Cloud struct {
	log   *log.Logger
	imds  *imds.Client
	role  *aws.CredentialsCache
	http  *http.Client
	pause time.Duration // before the second try of something; shorter in tests
	reach time.Duration // how long to try to reach EC2 for a name; shorter in tests

	mu   sync.Mutex
	here *place
}

// Open prepares to ask EC2, and asks nothing yet. Requests to its APIs go through the
// proxy, those to the metadata service never.
func Open(o Options) *Cloud {
	c := &Cloud{log: o.Log, pause: time.Second, reach: reachBound}
	c.http = &http.Client{Timeout: callBound, CheckRedirect: noRedirect, Transport: transport(o, o.Proxy, callBound)}
	c.imds = imds.New(imds.Options{
		HTTPClient:        newService(o),
		ClientEnableState: imds.ClientEnabled,
		EnableFallback:    aws.FalseTernary, // to the first version, which has no tokens
		Retryer: retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxBackoff = time.Second
			r.RateLimiter = ratelimit.None // what is asked here is asked again in any case
		}),
	})
	role := ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = c.imds })
	c.role = aws.NewCredentialsCache(role, func(r *aws.CredentialsCacheOptions) { r.ExpiryWindow = expiryWindow })
	return c
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func transport(o Options, proxy Proxy, header time.Duration) *http.Transport {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialBound}).DialContext
	}
	return &http.Transport{
		Proxy: proxy, DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: o.Roots}, TLSHandshakeTimeout: callBound / 2,
		ResponseHeaderTimeout: header, MaxResponseHeaderBytes: maxMetadata, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}
}

// service sends requests to the host of the metadata service that answers.
type service struct {
	http  *http.Client
	hosts []string
	last  atomic.Int32 // the one that did
}

func newService(o Options) *service {
	hosts := o.Metadata
	if hosts == nil {
		hosts = metadataServices
	}
	client := &http.Client{Timeout: metadataBound, Transport: transport(o, nil, headerBound), CheckRedirect: noRedirect}
	return &service{http: client, hosts: hosts}
}

// Do implements imds.HTTPClient. What it sends has no body, so it can be sent again.
func (s *service) Do(r *http.Request) (answer *http.Response, err error) {
	first := int(s.last.Load())
	for i := range s.hosts {
		n := (first + i) % len(s.hosts)
		to := r.Clone(r.Context())
		to.URL.Host, to.Host = s.hosts[n], ""
		answer, err = s.http.Do(to)
		if !unreachable(err) {
			s.last.Store(int32(n))
			break
		}
	}
	if err == nil {
		answer.Body = bounded{io.LimitReader(answer.Body, maxMetadata), answer.Body}
	}
	return answer, err
}

// bounded is an answer's body, cut off: the SDK reads all that comes.
type bounded struct {
	io.Reader
	io.Closer
}

// unreachable reports whether nobody was there to answer.
func unreachable(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// Metadata returns a value of the metadata service, such as that of "local-hostname".
func (c *Cloud) Metadata(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataBound)
	defer cancel()
	out, err := c.imds.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", fmt.Errorf("ask the metadata service for %s: %w", path, plain(err))
	}
	defer out.Content.Close()
	text, err := io.ReadAll(out.Content)
	if err != nil {
		return "", fmt.Errorf("read %s of the metadata service: %w", path, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// plain takes what the SDK wraps around an error: names of its own operations.
func plain(err error) error {
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return status(answer.HTTPStatusCode())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	return err
}

// status is an answer that is none, by the number that HTTP has for it.
type status int

func (s status) Error() string {
	return fmt.Sprintf("it answers %d %s", int(s), http.StatusText(int(s)))
}

// absent reports whether the metadata service has no such value.
func absent(err error) bool {
	s, ok := errors.AsType[status](err)
	return ok && s == http.StatusNotFound
}

// place is where the machine is.
type place struct {
	region   string // "eu-central-1"
	domain   string // of the APIs: "amazonaws.com"
	onlyIPv6 bool
}

// where returns the place. It asks once.
func (c *Cloud) where(ctx context.Context) (place, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.here != nil {
		return *c.here, nil
	}
	p, err := c.askWhere(ctx)
	if err == nil {
		c.here = &p
	}
	return p, err
}

func (c *Cloud) askWhere(ctx context.Context) (p place, err error) {
	if p.region, err = c.Metadata(ctx, "placement/region"); err != nil {
		return p, err
	}
	if p.domain, err = c.Metadata(ctx, "services/domain"); err != nil {
		return p, err
	}
	if !rfc1123.IsLabel(p.region) || !rfc1123.IsSubdomain(p.domain) {
		return p, fmt.Errorf("the metadata service says that the region is %.80q and the domain %.80q, which are no parts of a host's name", p.region, p.domain)
	}
	_, err = c.Metadata(ctx, "local-ipv4")
	p.onlyIPv6 = absent(err)
	if p.onlyIPv6 {
		err = nil
	}
	return p, err
}
