package awslab

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Key is what requests are signed with.
type Key struct{ ID, Secret, Session string }

// signature is what a request says of how it is signed.
type signature struct {
	credential string // ID/DATE/REGION/SERVICE/aws4_request
	headers    string // names, with ; between
	date       string
	session    string
	value      string
	expires    string // seconds; "" for one in a header
	query      url.Values
}

// skew is how much the clocks may differ.
const skew = 15 * time.Minute

// Verify recomputes the signature of a request for a service in a region by Signature
// Version 4 (AWS' reference, "Create a signed AWS API request"), in its headers or its
// query. It returns what is wrong.
func (k Key) Verify(r *http.Request, body []byte, service, region string) error {
	s := signatureOf(r)
	when, err := time.Parse("20060102T150405Z", s.date)
	if err != nil {
		return fmt.Errorf("the date: %w", err)
	}
	scope := strings.Join([]string{when.Format("20060102"), region, service, "aws4_request"}, "/")
	if want := k.ID + "/" + scope; s.credential != want {
		return fmt.Errorf("the credential is %q, not %q", s.credential, want)
	}
	if s.session != k.Session {
		return errors.New("the session token is another one")
	}
	if err := s.checkTime(when); err != nil {
		return err
	}
	if names := strings.Split(s.headers, ";"); !slices.Contains(names, "host") || !slices.IsSorted(names) {
		return fmt.Errorf("the signed headers %q lack the host, or are not sorted", s.headers)
	}
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", s.date, scope, hash(s.canonical(r, body))}, "\n")
	if want := hex.EncodeToString(sum(k.signingKey(scope), toSign)); !hmac.Equal([]byte(want), []byte(s.value)) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func signatureOf(r *http.Request) signature {
	q := r.URL.Query()
	if q.Has("X-Amz-Signature") {
		rest := r.URL.Query()
		rest.Del("X-Amz-Signature")
		return signature{q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token"), q.Get("X-Amz-Signature"), q.Get("X-Amz-Expires"), rest}
	}
	s := signature{date: r.Header.Get("X-Amz-Date"), session: r.Header.Get("X-Amz-Security-Token"), query: q}
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	for field := range strings.SplitSeq(text, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(field), "="); name {
		case "Credential":
			s.credential = value
		case "SignedHeaders":
			s.headers = value
		case "Signature":
			s.value = value
		}
	}
	return s
}

// checkTime is as STS does it: whatever the expiry, 15 minutes are the most.
func (s signature) checkTime(when time.Time) error {
	if age := time.Since(when); age > skew || age < -skew {
		return fmt.Errorf("it was signed %v ago", age)
	}
	if s.expires != "" {
		if seconds, err := strconv.Atoi(s.expires); err != nil || seconds < 0 || seconds > 900 {
			return fmt.Errorf("the expiry %q is not in 0 to 900", s.expires)
		}
	}
	return nil
}

// canonical is the form of a request that is signed.
func (s signature) canonical(r *http.Request, body []byte) string {
	path := "/" // which is all that these APIs have
	var headers strings.Builder
	for name := range strings.SplitSeq(s.headers, ";") {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	query := strings.ReplaceAll(s.query.Encode(), "+", "%20") // it is sorted
	return strings.Join([]string{r.Method, path, query, headers.String(), s.headers, hash(string(body))}, "\n")
}

func (k Key) signingKey(scope string) []byte {
	key := []byte("AWS4" + k.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = sum(key, part)
	}
	return key
}

func sum(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hash(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
