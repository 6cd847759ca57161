package aws

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/awslab"
)

// open returns the cloud of a lab, and what it logs. It waits for little.
func open(t *testing.T, l *awslab.Lab) (*Cloud, *lab.Buffer) {
	t.Helper()
	said := &lab.Buffer{}
	c := Open(Options{Log: log.New(said, "", 0), Dial: l.Dial, Roots: l.Roots()})
	c.pause = 5 * time.Millisecond
	return c, said
}

// identity asks STS as the API server does with a token.
func identity(t *testing.T, l *awslab.Lab, token, cluster string) (status int, text string) {
	t.Helper()
	encoded, found := strings.CutPrefix(token, "k8s-aws-v1.")
	url, err := base64.RawURLEncoding.DecodeString(encoded)
	if !found || err != nil {
		t.Fatalf("the token is %q: %v", token, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(url), nil)
	lab.Must(t, err)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-K8s-Aws-Id", cluster)
	client := &http.Client{Transport: transport(Options{Dial: l.Dial, Roots: l.Roots()}, nil, time.Minute)}
	answer, err := client.Do(r)
	lab.Must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	lab.Must(t, err)
	return answer.StatusCode, string(body)
}

func TestToken(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	c, _ := open(t, l)
	token, err := c.Token(t.Context(), "shop")
	lab.Must(t, err)
	if status, text := identity(t, l, token, "shop"); status != http.StatusOK || !strings.Contains(text, "assumed-role/kios-node/i-0123456789abcdef0") {
		t.Errorf("STS says %d %s", status, text)
	}
	if status, text := identity(t, l, token, "other"); status != http.StatusForbidden {
		t.Errorf("STS takes the token for another cluster: %d %s", status, text)
	}
	if len(l.Requests()) != 2 {
		t.Errorf("to make a token, these were asked: %q", l.Requests())
	}
}

// The token is there at once, for root alone. It stays while the metadata service is away.
func TestKeepToken(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	c, said := open(t, l)
	path := filepath.Join(t.TempDir(), "aws", "token")
	lab.Must(t, c.writeToken(t.Context(), "shop", path))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the token: %v, %v", info, err)
	}
	before := lab.ReadFile(t, path)
	if status, text := identity(t, l, strings.TrimSpace(before), "shop"); status != http.StatusOK {
		t.Errorf("STS says %d %s", status, text)
	}
	l.IMDS.Fail(awslab.Trouble{Status: http.StatusServiceUnavailable})
	c.role.Invalidate()
	done := make(chan error)
	go func() { done <- c.keepToken(t.Context(), "shop", path) }()
	lab.Until(t, 20*time.Second, "a line about it", func() bool { return strings.Contains(said.String(), "make a token for the cluster shop") })
	if now := lab.ReadFile(t, path); now != before {
		t.Errorf("the token is now %q", now)
	}
	l.IMDS.Recover()
	lab.Until(t, 20*time.Second, "another token", func() bool { return lab.ReadFile(t, path) != before })
	if lines := strings.Count(said.String(), "\n"); lines != 1 {
		t.Errorf("%d lines in a minute: %s", lines, said)
	}
}

func TestOld(t *testing.T) {
	now := time.Now()
	for written, want := range map[time.Time]bool{
		now: false, now.Add(-4 * time.Minute): false, now.Add(-5 * time.Minute): true, now.Add(time.Hour): true,
	} {
		if got := old(written, now); got != want {
			t.Errorf("old(%v) = %v", now.Sub(written), got)
		}
	}
}

// Whatever the metadata service does, there is a token in the end.
func TestTroubles(t *testing.T) {
	for name, trouble := range map[string]awslab.Trouble{
		"the role comes late":      {Path: "/latest/meta-data/iam", Status: http.StatusNotFound, Count: 2},
		"it has errors of its own": {Status: http.StatusInternalServerError, Count: 9},
		"it is slow":               {Delay: 300 * time.Millisecond, Count: 3},
		"tokens are refused":       {Path: "/latest/meta-data", Status: http.StatusUnauthorized, Count: 5},
		"no tokens":                {Path: "/latest/api/token", Status: http.StatusForbidden, Count: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := awslab.Local(t, awslab.Options{})
			l.IMDS.Fail(trouble)
			c, _ := open(t, l)
			path := filepath.Join(t.TempDir(), "token")
			go c.keepToken(t.Context(), "shop", path)
			lab.Eventually(t, 20*time.Second, "a token", func() error { _, err := os.Stat(path); return err })
			if status, text := identity(t, l, strings.TrimSpace(lab.ReadFile(t, path)), "shop"); status != http.StatusOK {
				t.Errorf("STS says %d %s", status, text)
			}
		})
	}
}

// A token of the metadata service that it does not know any more is replaced.
func TestStaleToken(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	c, _ := open(t, l)
	for range 2 {
		if id, err := c.Metadata(t.Context(), "instance-id"); err != nil || id != "i-0123456789abcdef0" {
			t.Errorf("instance-id = %q, %v", id, err)
		}
		l.IMDS.ExpireTokens()
	}
}

func TestNodeName(t *testing.T) {
	const api, local = "ip-10-0-0-10.eu-central-1.compute.internal", "ip-10-0-0-10.example.com"
	for name, c := range map[string]struct {
		options awslab.Options
		eks     want.EKS
		before  string
		want    string
		says    string
	}{
		"the API's":         {want: api},
		"by id":             {eks: want.EKS{InstanceIDName: true}, want: "i-0123456789abcdef0"},
		"it may not ask":    {options: awslab.Options{Denied: []string{"ec2:DescribeInstances"}}, want: local, says: "let the role have ec2:DescribeInstances"},
		"it had a name":     {options: awslab.Options{Denied: []string{"ec2:DescribeInstances"}}, before: "a.example", want: "a.example", says: "let the role have ec2:DescribeInstances"},
		"it has another":    {before: "a.example", want: api},
		"without IPv4":      {options: awslab.Options{IPv6: "2001:db8::1"}, want: api},
		"a government's":    {options: awslab.Options{Region: "us-gov-west-1"}, want: "ip-10-0-0-10.us-gov-west-1.compute.internal"},
		"several hostnames": {options: awslab.Options{Denied: []string{"ec2:DescribeInstances"}, Hostname: local + " ip-10-0-0-10.b.com"}, want: local, says: "ec2"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.options.Hostname == "" {
				c.options.Hostname = local
			}
			l := awslab.Local(t, c.options)
			cloud, said := open(t, l)
			got, err := cloud.NodeName(t.Context(), &want.Machine{ID: "i-0123456789abcdef0"}, &c.eks, c.before)
			if err != nil || got != c.want || !strings.Contains(said.String(), c.says) || c.says == "" && said.String() != "" {
				t.Errorf("NodeName = %q, %v, want %q; it says %q, want %q", got, err, c.want, said, c.says)
			}
			if c.options.IPv6 != "" && fmt.Sprint(l.Requests()) != "[POST ec2.eu-central-1.api.aws/]" {
				t.Errorf("without IPv4, it asks %q", l.Requests())
			}
		})
	}
}

// A node does not wait for who does not know it.
func TestRefused(t *testing.T) {
	for _, code := range []string{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "AccessDenied"} {
		if !refused(&Refusal{Status: http.StatusBadRequest, Code: code}) {
			t.Errorf("%s is asked again", code)
		}
	}
	for _, r := range []*Refusal{
		{Status: http.StatusBadRequest, Code: "InvalidInstanceID.NotFound"}, {Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded"},
		{Status: http.StatusBadRequest, Code: "RequestExpired"}, // the clock is about to be set
	} {
		if refused(r) {
			t.Errorf("%v is taken for the last word", r)
		}
	}
}

// Nor does it wait long for an API that it cannot reach.
func TestNameOutOfReach(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	said := &lab.Buffer{}
	c := Open(Options{Log: log.New(said, "", 0), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":443") {
			return nil, errors.New("it is out of reach")
		}
		return l.Dial(ctx, network, address)
	}})
	c.pause, c.reach = 5*time.Millisecond, 300*time.Millisecond
	for before, expected := range map[string]string{"": "ip-10-0-0-10.eu-central-1.compute.internal", "a.example": "a.example"} {
		name, err := c.NodeName(t.Context(), &want.Machine{ID: "i-0123456789abcdef0"}, &want.EKS{}, before)
		if err != nil || name != expected || !strings.Contains(said.String(), "let the node reach the API of EC2") {
			t.Errorf("NodeName = %q, %v, want %q; it says %s", name, err, expected, said)
		}
	}
}

// The APIs are asked through the proxy, and the metadata service is not.
func TestProxy(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	asked := make(chan string, 100)
	c := Open(Options{Log: log.New(io.Discard, "", 0), Dial: l.Dial, Roots: l.Roots(), Proxy: func(r *http.Request) (*url.URL, error) {
		asked <- r.URL.Host
		return nil, nil
	}})
	_, err := c.privateName(t.Context(), "i-0123456789abcdef0")
	lab.Must(t, err)
	if host := <-asked; host != "ec2.eu-central-1.amazonaws.com" || len(asked) > 0 {
		t.Errorf("a proxy is looked for for %s, and %d others", host, len(asked))
	}
}

// EC2 does not know a new instance at once, nor its name.
func TestNameComesLate(t *testing.T) {
	l := awslab.Local(t, awslab.Options{Instance: "i-0aaaaaaaaaaaaaaaa"})
	c, said := open(t, l)
	l.Change(func(o *awslab.Options) { o.PrivateDNSName = "" })
	named := make(chan string)
	go func() {
		name, err := c.NodeName(t.Context(), &want.Machine{ID: "i-0bbbbbbbbbbbbbbbb"}, &want.EKS{}, "")
		if err != nil {
			t.Error(err)
		}
		named <- name
	}()
	lab.Until(t, 20*time.Second, "a line of an unknown instance", func() bool { return strings.Contains(said.String(), "InvalidInstanceID.NotFound") })
	l.Change(func(o *awslab.Options) { o.Instance = "i-0bbbbbbbbbbbbbbbb" })
	asked := len(l.Requests())
	lab.Until(t, 20*time.Second, "more questions", func() bool { return len(l.Requests()) > asked+1 })
	l.Change(func(o *awslab.Options) { o.PrivateDNSName = "late.example" })
	if name := <-named; name != "late.example" {
		t.Errorf("NodeName = %q", name)
	}
}

func TestTypeInfo(t *testing.T) {
	l := awslab.Local(t, awslab.Options{Interfaces: 4, Addresses: 15})
	c, _ := open(t, l)
	if enis, ips, err := c.TypeInfo(t.Context(), "m9.large"); err != nil || enis != 4 || ips != 15 {
		t.Errorf("TypeInfo = %d, %d, %v, want 4, 15", enis, ips, err)
	}
	l.Change(func(o *awslab.Options) { o.Denied = []string{"ec2:DescribeInstanceTypes"} })
	if enis, ips, err := c.TypeInfo(t.Context(), "m9.large"); err == nil || enis != 0 || ips != 0 || !strings.Contains(err.Error(), "UnauthorizedOperation") {
		t.Errorf("TypeInfo = %d, %d, %v, want the refusal", enis, ips, err)
	}
}

// A machine without a role is told what it needs.
func TestNoRole(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	l.IMDS.Remove("meta-data/iam")
	c, _ := open(t, l)
	if _, err := c.Token(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "give it an instance profile") {
		t.Errorf("error = %v", err)
	}
}

// Answers that have no end are cut off.
func TestBounds(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	c, _ := open(t, l)
	l.IMDS.Set("meta-data/large", strings.Repeat("x", 10<<20))
	text, err := c.Metadata(t.Context(), "large")
	if err == nil && len(text) > maxMetadata {
		t.Errorf("%d bytes are read", len(text))
	}
	l.Change(func(o *awslab.Options) { o.PrivateDNSName = strings.Repeat("x", 2<<20) })
	if _, err := c.privateName(t.Context(), "i-0123456789abcdef0"); err == nil || !strings.Contains(err.Error(), "has more than") {
		t.Errorf("error = %v", err)
	}
}
