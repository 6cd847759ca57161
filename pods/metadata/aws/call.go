package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// formType is the type of questions to the Query APIs.
const formType = "application/x-www-form-urlencoded; charset=utf-8"

// maxAnswer is more bytes than an API answers here.
const maxAnswer = 1 << 20

// request is what an API is asked.
type request struct {
	service, region, host string
	header                map[string]string
	body                  string
}

// call asks an API as a role, and returns what it answers. Without keys the request is
// not signed. The error is a *Refusal if the API gives one.
func (c *Cloud) call(ctx context.Context, r request, role aws.Credentials) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	signed, err := r.sign(ctx, role)
	if err != nil {
		return nil, fmt.Errorf("sign a request: %w", err)
	}
	answer, err := c.http.Do(signed)
	if err != nil {
		return nil, err // it names the host
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", r.host, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s has more than %d bytes", r.host, maxAnswer)
	case answer.StatusCode != http.StatusOK:
		return nil, refusalOf(r.host, answer.StatusCode, body)
	}
	return body, nil
}

// credentials returns those of the machine's role.
func (c *Cloud) credentials(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataBound)
	defer cancel()
	role, err := c.role.Retrieve(ctx)
	if err == nil {
		return role, nil
	}
	if err = plain(err); absent(err) {
		return role, errors.New("the machine has no IAM role: give it an instance profile")
	}
	return role, fmt.Errorf("get the credentials of the machine's role: %w", err)
}

func (r request) sign(ctx context.Context, role aws.Credentials) (*http.Request, error) {
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.host+"/", strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.header {
		post.Header.Set(name, value)
	}
	if !role.HasKeys() {
		return post, nil
	}
	hash := sha256.Sum256([]byte(r.body))
	return post, v4.NewSigner().SignHTTP(ctx, role, post, hex.EncodeToString(hash[:]), r.service, r.region, time.Now())
}

// Refusal is an answer of an API that says what is wrong.
type Refusal struct {
	Host    string
	Status  int
	Code    string // such as UnauthorizedOperation
	Message string
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s answers %d %s", r.Host, r.Status, http.StatusText(r.Status))
	if r.Code != "" {
		text += ", " + r.Code
	}
	if r.Message != "" {
		text += ": " + r.Message
	}
	return text
}

// refusalOf reads an error as EC2 writes it, or as ECR does.
func refusalOf(host string, status int, body []byte) error {
	type problem struct{ Code, Message string }
	var asXML struct {
		EC2 problem `xml:"Errors>Error"`
		STS problem `xml:"Error"`
	}
	var asJSON struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	r := &Refusal{Host: host, Status: status}
	switch {
	case json.Unmarshal(body, &asJSON) == nil:
		r.Code, r.Message = asJSON.Type[strings.LastIndex(asJSON.Type, "#")+1:], asJSON.Message
	case xml.Unmarshal(body, &asXML) == nil:
		r.Code, r.Message = cmp.Or(asXML.EC2.Code, asXML.STS.Code), cmp.Or(asXML.EC2.Message, asXML.STS.Message)
	}
	r.Code, r.Message = clean(r.Code, 80), clean(r.Message, 500)
	return r
}

// clean makes what others write fit for a line of a log.
func clean(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// forbidden reports whether the role lacks the permission: asking again does not help.
func forbidden(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && slices.Contains([]string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}, r.Code)
}

// refused reports whether EC2 does not answer this machine's role, for whatever reason: it
// lacks the permission, or EC2 does not know it.
func refused(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	if !ok || unnamed(err) {
		return false
	}
	return forbidden(err) || r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden ||
		slices.Contains([]string{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClient", "UnrecognizedClientException", "OptInRequired"}, r.Code)
}

// longestPause is the longest time between two tries of the same.
const longestPause = time.Minute

// again tries until it works, or until final says that it never will, or ctx ends.
func (c *Cloud) again(ctx context.Context, final func(error) bool, try func() error) error {
	said := complaints{log: c.log}
	for pause := c.pause; ; pause = min(2*pause, longestPause) {
		err := try()
		if err == nil || final(err) {
			return err
		}
		said.print(err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the last error: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

func never(error) bool { return false }

// complaints writes lines of what keeps failing, one a minute at most.
type complaints struct {
	log  *log.Logger
	last time.Time
}

func (c *complaints) print(err error) {
	if c.last.IsZero() || time.Since(c.last) >= time.Minute {
		c.last = time.Now()
		c.log.Printf("%v; it is tried again", err)
	}
}
