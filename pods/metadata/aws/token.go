package aws

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"kios/internal/wholefile"
)

const (
	// tokenAge is when a token is replaced. STS takes one for 15 minutes, whatever it
	// says of itself, and a client reads the file once a minute.
	tokenAge = 5 * time.Minute
	// tokenLook is how often the age is looked at. The wall clock tells it: it may be
	// set, and the machine may have slept.
	tokenLook = 10 * time.Second

	// emptyHash is the SHA-256 of nothing, which is what a GET sends.
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Token returns a token for the API server of an EKS cluster, by the name of that: a
// signed question to STS of who the machine is, which the server asks in its place
// (https://github.com/kubernetes-sigs/aws-iam-authenticator). STS is not asked here.
func (c *Cloud) Token(ctx context.Context, cluster string) (string, error) {
	at, err := c.where(ctx)
	if err != nil {
		return "", err
	}
	role, err := c.credentials(ctx)
	if err != nil {
		return "", err
	}
	question := "https://sts." + at.region + "." + at.domain + "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60"
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, question, nil)
	if err != nil {
		return "", err
	}
	get.Header.Set("X-K8s-Aws-Id", cluster)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, role, get, emptyHash, "sts", at.region, time.Now())
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(signed)), nil
}

// writeToken puts a new token in place of the one that is there, which is good for some
// minutes more if this fails.
func (c *Cloud) writeToken(ctx context.Context, cluster, path string) error {
	token, err := c.Token(ctx, cluster)
	if err != nil {
		return fmt.Errorf("make a token for the cluster %s: %w", cluster, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return wholefile.Volatile(path, []byte(token+"\n"), 0o600)
}

// keepToken writes a token at once, and again before it is too old.
func (c *Cloud) keepToken(ctx context.Context, cluster, path string) error {
	look := time.NewTicker(tokenLook)
	defer look.Stop()
	for {
		if err := c.again(ctx, never, func() error { return c.writeToken(ctx, cluster, path) }); err != nil {
			return err
		}
		for written := time.Now(); !old(written, time.Now()); {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-look.C:
			}
		}
	}
}

// old reports whether a token has to be replaced, or one of the times is wrong.
func old(written, now time.Time) bool {
	age := now.Round(0).Sub(written.Round(0)) // by the wall clock
	return age >= tokenAge || age < 0
}
