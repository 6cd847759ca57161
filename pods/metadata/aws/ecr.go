package aws

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"kios/pods/metadata/eks"
)

// group is that of requests and answers. Their versions differ in nothing that is used
// here.
const group = "credentialprovider.kubelet.k8s.io/"

// credentialRequest is a CredentialProviderRequest of the kubelet
// (kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1).
type credentialRequest struct {
	Kind        string            `json:"kind"`
	Version     string            `json:"apiVersion"`
	Image       string            `json:"image"`
	Token       string            `json:"serviceAccountToken"`
	Annotations map[string]string `json:"serviceAccountAnnotations"`
}

// credentialResponse is a CredentialProviderResponse.
type credentialResponse struct {
	Kind          string           `json:"kind"`
	Version       string           `json:"apiVersion"`
	CacheKeyType  string           `json:"cacheKeyType"`
	CacheDuration string           `json:"cacheDuration"`
	Auth          map[string]login `json:"auth"`
}

type login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// roleAnnotation of a service account names the role that its pods get images as, if the
// provider is configured with tokenAttributes.
const roleAnnotation = "eks.amazonaws.com/ecr-role-arn"

// Credentials answers a request of the kubelet for a registry of ECR as
// ecr-credential-provider of cloud-provider-aws does, both in JSON.
func (c *Cloud) Credentials(ctx context.Context, text []byte) ([]byte, error) {
	var r credentialRequest
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read the kubelet's request: %w", err)
	}
	if r.Kind != "CredentialProviderRequest" || !strings.HasPrefix(r.Version, group) {
		return nil, fmt.Errorf("a request of the kind %.80q in %.80q is none for credentials", r.Kind, r.Version)
	}
	host := hostOf(r.Image)
	reg, err := registryOf(host)
	if err != nil {
		return nil, err
	}
	auth, err := c.authorize(ctx, r, reg)
	if err != nil {
		return nil, fmt.Errorf("get credentials for %s: %w", host, err)
	}
	user, err := auth.login()
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", reg.api, err)
	}
	return json.Marshal(credentialResponse{
		Kind: "CredentialProviderResponse", Version: r.Version,
		CacheKeyType: "Registry", CacheDuration: auth.cache(time.Now()).String(),
		Auth: map[string]login{host: user},
	})
}

// authorization is what ECR gives.
type authorization struct {
	Token   string  `json:"authorizationToken"`
	Expires float64 `json:"expiresAt"` // seconds since 1970
}

// authorize asks ECR, as the machine's role or as the service account's.
func (c *Cloud) authorize(ctx context.Context, r credentialRequest, reg registry) (authorization, error) {
	role, err := c.roleOf(ctx, r, reg)
	if err != nil {
		return authorization{}, err
	}
	ask := request{
		service: "ecr", region: reg.region, host: reg.api, body: "{}",
		header: map[string]string{
			"Content-Type": "application/x-amz-json-1.1",
			"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
		},
	}
	if reg.public {
		ask.service, ask.header["X-Amz-Target"] = "ecr-public", "SpencerFrontendService.GetAuthorizationToken"
	}
	body, err := c.call(ctx, ask, role)
	if forbidden(err) {
		return authorization{}, fmt.Errorf("%w; let the role have %s:GetAuthorizationToken, as AmazonEC2ContainerRegistryPullOnly does", err, ask.service)
	}
	if err != nil {
		return authorization{}, err
	}
	return readAuthorization(body)
}

// readAuthorization takes the one authorization of public ECR, or the first of a list.
func readAuthorization(body []byte) (a authorization, err error) {
	var answer struct {
		Data json.RawMessage `json:"authorizationData"`
	}
	var list []authorization
	err = json.Unmarshal(body, &answer)
	switch {
	case err != nil:
		return a, err
	case json.Unmarshal(answer.Data, &list) == nil && len(list) > 0:
		a = list[0]
	default:
		err = json.Unmarshal(answer.Data, &a)
	}
	if err == nil && a.Token == "" {
		err = errors.New("there is no authorizationToken")
	}
	return a, err
}

// login reads the user and the password in the token.
func (a authorization) login() (login, error) {
	text, err := base64.StdEncoding.DecodeString(a.Token)
	user, password, found := strings.Cut(string(text), ":")
	if err != nil || !found {
		return login{}, errors.New("the authorizationToken is not a user and a password in base64")
	}
	return login{user, password}, nil
}

// cache returns how long the kubelet may use it: half of what is left, so that no image
// that takes long to fetch outlives it.
func (a authorization) cache(now time.Time) time.Duration {
	left := a.Expires - float64(now.Unix())
	if left <= 0 || left > (7*24*time.Hour).Seconds() {
		return 0
	}
	return time.Duration(left/2) * time.Second
}

// roleOf returns the credentials to ask with.
func (c *Cloud) roleOf(ctx context.Context, r credentialRequest, reg registry) (aws.Credentials, error) {
	arn := r.Annotations[roleAnnotation]
	if r.Token == "" || arn == "" {
		return c.credentials(ctx)
	}
	role, err := c.assume(ctx, reg, arn, r.Token)
	if err != nil {
		err = fmt.Errorf("become the role %.200s of the service account: %w", arn, err)
	}
	return role, err
}

// assume becomes a role by the token of a service account. The token is what proves it:
// the request has no signature.
func (c *Cloud) assume(ctx context.Context, reg registry, arn, token string) (aws.Credentials, error) {
	form := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {arn}, "RoleSessionName": {eks.ProviderName}, "WebIdentityToken": {token},
	}
	ask := request{host: reg.sts(), body: form.Encode(), header: map[string]string{"Content-Type": formType}}
	body, err := c.call(ctx, ask, aws.Credentials{})
	if err != nil {
		return aws.Credentials{}, err
	}
	var found struct {
		ID      string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
		Secret  string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
		Session string `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
	}
	if err := xml.Unmarshal(body, &found); err != nil || cmp.Or(found.ID, found.Secret) == "" {
		return aws.Credentials{}, fmt.Errorf("%s answers without credentials", ask.host)
	}
	return aws.Credentials{AccessKeyID: found.ID, SecretAccessKey: found.Secret, SessionToken: found.Session}, nil
}
