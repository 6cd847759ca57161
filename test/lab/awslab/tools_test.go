//go:build cluster

package awslab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/pods/metadata/aws"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// token makes one as a node in the namespace does. Its metadata service is at a host.
func token(t *testing.T, namespace, host, cluster string) string {
	t.Helper()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return netns.Dial(ctx, namespace, network, address)
	}
	c := aws.Open(aws.Options{Log: log.New(io.Discard, "", 0), Metadata: []string{host}, Dial: dial})
	token, err := c.Token(t.Context(), cluster)
	lab.Must(t, err)
	return token
}

// review asks the authenticator as an API server does.
func review(t *testing.T, namespace, token string) (ok bool, text string, err error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return netns.Dial(ctx, namespace, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is not what is tried
	}}
	body := fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1beta1","kind":"TokenReview","spec":{"token":%q}}`, token)
	answer, err := client.Post(fmt.Sprintf("https://127.0.0.1:%d/authenticate", AuthenticatorPort), "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		return false, "", err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	var review struct{ Status struct{ Authenticated bool } }
	_ = json.Unmarshal(raw, &review)
	return review.Status.Authenticated, string(raw), err
}

// The program that EKS' API servers ask takes our tokens, for their cluster only.
func TestAuthenticator(t *testing.T) {
	lab.Long(t)
	namespace := fmt.Sprintf("kios-auth-%d", os.Getpid())
	netns.Add(t, namespace)
	l := Start(t, namespace, Options{})
	_, server := l.Authenticator(t, namespace, "shop", "system:node:{{SessionName}}")
	good := token(t, namespace, "169.254.169.254", "shop")
	lab.Eventually(t, time.Minute, "a review of the token", func() error {
		ok, text, err := review(t, namespace, good)
		if err == nil && (!ok || !strings.Contains(text, "system:node:i-0123456789abcdef0")) {
			t.Fatalf("the token is refused: %s\n%s", text, server)
		}
		return err
	})
	if ok, text, err := review(t, namespace, token(t, namespace, "169.254.169.254", "other")); ok || err != nil {
		t.Errorf("a token for another cluster is taken: %s, %v", text, err)
	}
}

// Amazon's own mock of the metadata service is enough to make a token.
func TestMetadataMock(t *testing.T) {
	lab.Long(t)
	namespace := fmt.Sprintf("kios-aemm-%d", os.Getpid())
	netns.Add(t, namespace)
	config := filepath.Join(t.TempDir(), "aemm.json")
	lab.WriteFile(t, config, fmt.Sprintf(`{"metadata":{"values":{"iam-security-credentials":{"Code":"Success","LastUpdated":"2020-04-02T18:50:40Z",
"Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"secret","Token":"session","Expiration":%q}}}}`, time.Now().Add(6*time.Hour).UTC().Format(time.RFC3339)))
	netns.Start(t, namespace, nil, Tool(t, "github.com/aws/amazon-ec2-metadata-mock/cmd/ec2-metadata-mock"),
		"--imdsv2", "--hostname=127.0.0.1", "--port=1338", "--config-file="+config)
	lab.Eventually(t, time.Minute, "the mock", func() error {
		conn, err := netns.Dial(t.Context(), namespace, "tcp", "127.0.0.1:1338")
		if err == nil {
			conn.Close()
		}
		return err
	})
	if got := token(t, namespace, "127.0.0.1:1338", "shop"); !strings.HasPrefix(got, "k8s-aws-v1.aHR0cHM6Ly9zdHMudXMtZWFzdC0xLmFtYXpvbmF3cy5jb20") {
		t.Errorf("the token is %q, not a question to sts.us-east-1.amazonaws.com", got)
	}
}
