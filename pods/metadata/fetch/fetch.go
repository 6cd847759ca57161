package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Limit is how many bytes an answer may have, unless the request says otherwise.
	Limit = 1 << 20

	requestBound = 10 * time.Second // from the connection to the last byte
	firstPause   = time.Second
	lastPause    = time.Minute
	// At boot, a machine often asks before it has an address: that is no news.
	quiet       = 5 * time.Second
	logInterval = time.Minute
)

// ErrAbsent says that the service answers, and that there is no such thing.
var ErrAbsent = errors.New("there is none (404)")

// Client asks one service. It is not for several goroutines at once.
type Client struct {
	// Bases are URLs that paths are added to. The service is the same at each: they
	// are tried in turn, and the one that answers is asked first the next time.
	Bases []string
	// Find, if not nil, is asked before each try for bases that have become known since.
	Find   func() []string
	Header map[string]string // of each request
	Token  *Token            // nil if the service wants none
	// LowPort has the client use source ports below 1024, which tells the service that
	// root asks. It takes CAP_NET_BIND_SERVICE.
	LowPort bool
	// Anywhere lets the service redirect to other hosts, which metadata services have
	// no reason for.
	Anywhere bool
	Log      *log.Logger
	// Wait waits until it asks again; nil to do so. Tests have no time.
	Wait func(context.Context, time.Duration) error

	http    *http.Client
	tokens  map[string]string // by base
	nextLog time.Time
	bound   time.Duration // of a request; 0 for the usual one
}

// Token is how to get a token, by PUT, without which a service does not answer.
type Token struct {
	Path   string
	Ask    map[string]string // header fields of the PUT
	Header string            // the field that carries the token afterwards
}

// Request is what to ask for.
type Request struct {
	Method string // "" for GET
	Path   string // is added to a base
	Header map[string]string
	Body   []byte
	Limit  int64 // of the answer, in bytes; 0 for the package's
	// Required has 404 asked again, too.
	Required bool
	// Check, if not nil, refuses an answer, which is then asked for again.
	Check func(body []byte) error
	// Lacks, if not nil, reports whether an answer lacks what was there before. Such an
	// answer, like 404, is asked for again some times before it counts: a service that
	// starts, or a proxy before it, may know of nothing for a while.
	Lacks func(body []byte) bool
}

// IsBlank is a Lacks for what was a text.
func IsBlank(body []byte) bool { return len(bytes.TrimSpace(body)) == 0 }

// maxDoubts is how often it is asked again then: for a minute, with pauses that double.
const maxDoubts = 6

// isLess reports whether an answer has less than there was before.
func (r Request) isLess(body []byte, err error) bool {
	return r.Lacks != nil && (errors.Is(err, ErrAbsent) || err == nil && r.Lacks(body))
}

// Do asks until there is an answer, and returns its body. The error is ErrAbsent, or
// says that the context has ended, and what was wrong until then.
func (c *Client) Do(ctx context.Context, r Request) ([]byte, error) {
	var last error // that is about the service
	doubts := 0
	for pause := firstPause; ; {
		body, err := c.try(ctx, r)
		less := r.isLess(body, err)
		if less && doubts < maxDoubts {
			if err := c.doubt(ctx, r, doubts); err != nil {
				return nil, err
			}
			doubts++
			continue
		}
		if err == nil || errors.Is(err, ErrAbsent) && !r.Required {
			c.settle(r, less)
			return body, err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		c.complain(last)
		if err := c.sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("%w, and before: %w", err, last)
		}
		if !errors.Is(last, errNoRoute) {
			pause = min(2*pause, lastPause)
		}
	}
}

// doubt waits before the same is asked for again, and says so the first time.
func (c *Client) doubt(ctx context.Context, r Request, times int) error {
	if times == 0 {
		c.print("%s: it was there before, and is not now: it is asked for again for a minute, before what was made of it is taken away", c.where(r))
	}
	if err := c.sleep(ctx, firstPause<<times); err != nil {
		return fmt.Errorf("%w, and before: %s: it was there before, and is not now", err, c.where(r))
	}
	return nil
}

// settle says that what was there before is gone.
func (c *Client) settle(r Request, less bool) {
	if less {
		c.print("%s: it is not there any more", c.where(r))
	}
}

// where names what is asked for.
func (c *Client) where(r Request) string { return r.method() + " " + plain(c.Bases[0]+r.Path) }

func (c *Client) print(format string, args ...any) {
	if c.Log != nil {
		c.Log.Printf(format, args...)
	}
}

// Get asks for a path, and returns ErrAbsent if there is no such thing.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.Do(ctx, Request{Path: path})
}

// errNoRoute says that no base has a route: the machine has no address yet. That costs
// nothing to ask again, so the pauses stay short.
var errNoRoute = errors.New("this machine has no route to it yet")

// try asks each base once.
func (c *Client) try(ctx context.Context, r Request) ([]byte, error) {
	var errs []error
	c.findBases()
	unrouted := true
	for i, base := range c.Bases {
		body, err := c.ask(ctx, base, r)
		if err == nil {
			c.prefer(i)
			return body, nil
		}
		unrouted = unrouted && errors.Is(err, unix.ENETUNREACH)
		err = fmt.Errorf("%s %s: %w", r.method(), plain(base+r.Path), err)
		if errors.Is(err, ErrAbsent) {
			c.prefer(i)
			return nil, err
		}
		errs = append(errs, err)
	}
	if unrouted {
		return nil, fmt.Errorf("%s: %w", plain(c.Bases[0]), errNoRoute)
	}
	return nil, errors.Join(errs...)
}

// maxBases bounds a try: each base may take its time not to answer.
const maxBases = 8

func (c *Client) findBases() {
	if c.Find == nil {
		return
	}
	for _, base := range c.Find() {
		if !slices.Contains(c.Bases, base) && len(c.Bases) < maxBases {
			c.Bases = append(c.Bases, base)
		}
	}
}

// prefer has the base asked first from now on.
func (c *Client) prefer(i int) {
	if i == 0 {
		return
	}
	bases := append([]string{c.Bases[i]}, c.Bases[:i]...)
	c.Bases = append(bases, c.Bases[i+1:]...)
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// plain is a URL for messages: a query may have secrets, as may the user before the host.
func plain(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "a URL that makes no sense"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// ask asks one base once, and once more with a new token if the old one is no good.
func (c *Client) ask(ctx context.Context, base string, r Request) ([]byte, error) {
	if c.Token == nil {
		return c.send(ctx, base, "", r)
	}
	token, had := c.tokens[base]
	if !had {
		return c.askWithNewToken(ctx, base, r)
	}
	body, err := c.send(ctx, base, token, r)
	if errors.Is(err, errRefused) {
		return c.askWithNewToken(ctx, base, r)
	}
	return body, err
}

func (c *Client) askWithNewToken(ctx context.Context, base string, r Request) ([]byte, error) {
	token, err := c.newToken(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	body, err := c.send(ctx, base, token, r)
	if !errors.Is(err, errRefused) {
		if c.tokens == nil {
			c.tokens = map[string]string{}
		}
		c.tokens[base] = token
	}
	return body, err
}

const maxToken = 8 << 10

func (c *Client) newToken(ctx context.Context, base string) (string, error) {
	delete(c.tokens, base)
	body, err := c.send(ctx, base, "", Request{Method: http.MethodPut, Path: c.Token.Path, Header: c.Token.Ask, Limit: maxToken})
	if errors.Is(err, ErrAbsent) {
		return "", errors.New("the service has none (404)") // which is no answer to the request
	}
	if err != nil {
		return "", err
	}
	token := string(bytes.TrimSpace(body))
	if !printable(token) {
		return "", errors.New("the answer is no token")
	}
	return token, nil
}

// printable reports whether s can stand in a field of a header.
func printable(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// complain logs an error, unless there was one within the last minute.
func (c *Client) complain(err error) {
	now := time.Now()
	if c.nextLog.IsZero() {
		c.nextLog = now.Add(quiet)
	}
	if c.Log == nil || now.Before(c.nextLog) {
		return
	}
	c.nextLog = now.Add(logInterval)
	c.Log.Printf("no metadata yet, so they are asked for again until they come: %.1000s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

func (c *Client) sleep(ctx context.Context, pause time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, pause)
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SHA256 is a Check for an answer with this SHA-256, in hexadecimal digits.
func SHA256(want string) func([]byte) error {
	return func(body []byte) error {
		sum := sha256.Sum256(body)
		if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, want) {
			return fmt.Errorf("the SHA-256 of the answer is %s, not %s: correct the one or the other", got, want)
		}
		return nil
	}
}
