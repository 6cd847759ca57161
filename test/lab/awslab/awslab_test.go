package awslab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"kios/test/lab"
)

// What the SDK signs is right, and nothing else.
func TestVerify(t *testing.T) {
	key := Key{"ASIA", "secret", "session"}
	body := []byte("Action=DescribeInstances")
	sign := func(at time.Time) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "https://ec2.eu-central-1.amazonaws.com/?z=1&a=b+c", bytes.NewReader(body))
		r.Header.Set("Content-Type", "text/plain")
		sum := sha256.Sum256(body)
		role := aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.Session}
		lab.Must(t, v4.NewSigner().SignHTTP(context.Background(), role, r, hex.EncodeToString(sum[:]), "ec2", "eu-central-1", at))
		return r
	}
	if err := key.Verify(sign(time.Now()), body, "ec2", "eu-central-1"); err != nil {
		t.Errorf("what the SDK signs: %v", err)
	}
	for name, wrong := range map[string]func(r *http.Request) error{
		"an old request": func(*http.Request) error {
			return key.Verify(sign(time.Now().Add(-time.Hour)), body, "ec2", "eu-central-1")
		},
		"another body":    func(r *http.Request) error { return key.Verify(r, []byte("x"), "ec2", "eu-central-1") },
		"another service": func(r *http.Request) error { return key.Verify(r, body, "sts", "eu-central-1") },
		"another region":  func(r *http.Request) error { return key.Verify(r, body, "ec2", "eu-west-1") },
		"another key": func(r *http.Request) error {
			return Key{key.ID, "guess", key.Session}.Verify(r, body, "ec2", "eu-central-1")
		},
		"another query": func(r *http.Request) error { r.URL.RawQuery = "z=2"; return key.Verify(r, body, "ec2", "eu-central-1") },
		"another host":  func(r *http.Request) error { r.Host = "evil"; return key.Verify(r, body, "ec2", "eu-central-1") },
		"no signature": func(r *http.Request) error {
			r.Header.Del("Authorization")
			return key.Verify(r, body, "ec2", "eu-central-1")
		},
	} {
		if wrong(sign(time.Now())) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// get asks the metadata service as the second version of it wants.
func get(t *testing.T, l *Lab, path, token string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.imdsAt+path, nil)
	lab.Must(t, err)
	r.Header.Set("X-aws-ec2-metadata-token", token)
	answer, err := http.DefaultClient.Do(r)
	lab.Must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	lab.Must(t, err)
	return answer.StatusCode, string(body)
}

func newToken(t *testing.T, l *Lab) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+l.imdsAt+"/latest/api/token", nil)
	lab.Must(t, err)
	r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
	answer, err := http.DefaultClient.Do(r)
	lab.Must(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	lab.Must(t, err)
	return string(body)
}

func TestIMDS(t *testing.T) {
	l := Local(t, Options{})
	l.IMDS.AddInterface("02:00:00:00:00:02", map[string]string{"device-number": "1"})
	l.IMDS.SetUserData([]byte{0, 1, 2})
	if status, _ := get(t, l, "/latest/meta-data/instance-id", ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	token := newToken(t, l)
	for path, want := range map[string]string{
		"/latest/meta-data/instance-id":             "i-0123456789abcdef0",
		"/latest/user-data":                         "\x00\x01\x02",
		"/latest/meta-data/network/interfaces/macs": "02:00:00:00:00:01/\n02:00:00:00:00:02/",
		"/latest/meta-data/placement/":              "availability-zone\nregion",
	} {
		if status, text := get(t, l, path, token); status != http.StatusOK || text != want {
			t.Errorf("%s: %d %q, want %q", path, status, text, want)
		}
	}
	l.IMDS.Fail(Trouble{Path: "/latest/meta-data/mac", Status: http.StatusNotFound, Count: 2})
	var got []int
	for range 3 {
		status, _ := get(t, l, "/latest/meta-data/mac", token)
		got = append(got, status)
	}
	if got[0] != 404 || got[1] != 404 || got[2] != 200 {
		t.Errorf("404 twice, and then the value: %v", got)
	}
	l.IMDS.ExpireTokens()
	if status, _ := get(t, l, "/latest/meta-data/mac", token); status != http.StatusUnauthorized {
		t.Errorf("with a stale token: %d", status)
	}
	if n := l.IMDS.Asked("/latest/meta-data/mac"); n != 4 || !strings.HasPrefix(l.IMDS.Requests()[0], "GET ") {
		t.Errorf("%d requests are remembered: %q", n, l.IMDS.Requests())
	}
}
