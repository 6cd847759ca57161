package aws

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
	"kios/test/lab/awslab"
)

// The hosts of APIs are those that the SDK's own tests have for each partition
// (service/ecr and service/ecrpublic of aws-sdk-go-v2, endpoints_test.go).
func TestRegistryOf(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.us-east-1.amazonaws.com":                    "api.ecr.us-east-1.amazonaws.com us-east-1",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com":           "api.ecr-fips.us-gov-west-1.amazonaws.com us-gov-west-1",
		"123456789012.dkr-ecr.us-east-1.on.aws":                           "ecr.us-east-1.api.aws us-east-1",
		"123456789012.dkr-ecr-fips.us-east-1.on.aws":                      "ecr-fips.us-east-1.api.aws us-east-1",
		"123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn":            "api.ecr.cn-northwest-1.amazonaws.com.cn cn-northwest-1",
		"123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn": "ecr.cn-northwest-1.api.amazonwebservices.com.cn cn-northwest-1",
		"123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu":                "api.ecr.eusc-de-east-1.amazonaws.eu eusc-de-east-1",
		"123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov":                   "api.ecr.us-iso-east-1.c2s.ic.gov us-iso-east-1",
		"123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov":               "api.ecr.us-isob-east-1.sc2s.sgov.gov us-isob-east-1",
		"123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk":              "api.ecr.eu-isoe-west-1.cloud.adc-e.uk eu-isoe-west-1",
		"123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov":             "api.ecr.us-isof-south-1.csp.hci.ic.gov us-isof-south-1",
		"public.ecr.aws":     "api.ecr-public.us-east-1.amazonaws.com us-east-1",
		"ecr-public.aws.com": "ecr-public.us-east-1.api.aws us-east-1",
		"docker.io":          "",
		"evil.example":       "",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example": "",
		"123456789012.dkr.ecr.us/east.amazonaws.com":                "",
		"12345678901.dkr.ecr.us-east-1.amazonaws.com":               "",
		"123456789012.dkr.ecr.amazonaws.com":                        "",
		"123456789012.dkr.ecr..amazonaws.com":                       "",
		"":                                                          "",
	} {
		r, err := registryOf(host)
		got := r.api + " " + r.region
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("registryOf(%q) = %q, %v, want %q", host, got, err, want)
		}
	}
}

// request is one of the kubelet.
func kubeletRequest(version, image, more string) []byte {
	return fmt.Appendf(nil, `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/%s","image":%q%s}`, version, image, more)
}

func TestCredentials(t *testing.T) {
	const private = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
	l := awslab.Local(t, awslab.Options{})
	c, _ := open(t, l)
	for _, r := range []struct{ version, host, api string }{
		{"v1", private, "api.ecr.eu-central-1.amazonaws.com"},
		{"v1alpha1", private, "api.ecr.eu-central-1.amazonaws.com"},
		{"v1", "999999999999.dkr.ecr.us-west-2.amazonaws.com", "api.ecr.us-west-2.amazonaws.com"},
		{"v1", "111122223333.dkr-ecr.eu-central-1.on.aws", "ecr.eu-central-1.api.aws"},
		{"v1", "public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"},
	} {
		text, err := c.Credentials(t.Context(), kubeletRequest(r.version, r.host+"/a/b:1", ""))
		lab.Must(t, err)
		var got credentialResponse
		lab.Must(t, json.Unmarshal(text, &got))
		want := credentialResponse{"CredentialProviderResponse", "credentialprovider.kubelet.k8s.io/" + r.version, "Registry", got.CacheDuration, map[string]login{r.host: {"AWS", l.Password()}}}
		if diff := cmp.Diff(want, got); diff != "" || got.CacheDuration < "5h59m" || got.CacheDuration > "6h0m0s" {
			t.Errorf("%s: the cache is %s; -want +got\n%s", r.host, got.CacheDuration, diff)
		}
		requests := l.Requests()
		if last := requests[len(requests)-1]; last != "POST "+r.api+"/" {
			t.Errorf("%s: %s was asked", r.host, last)
		}
	}
}

// Pods may get images as the role of their service account.
func TestCredentialsOfServiceAccount(t *testing.T) {
	l := awslab.Local(t, awslab.Options{})
	l.IMDS.Remove("meta-data/iam") // the machine has no role itself
	c, _ := open(t, l)
	more := `,"serviceAccountToken":"token","serviceAccountAnnotations":{"eks.amazonaws.com/ecr-role-arn":"arn:aws:iam::111122223333:role/pull"}`
	if _, err := c.Credentials(t.Context(), kubeletRequest("v1", l.Registry()+"/a:1", more)); err != nil {
		t.Error(err)
	}
	if got := l.Requests(); len(got) != 2 || got[0] != "POST sts.eu-central-1.amazonaws.com/" {
		t.Errorf("these were asked: %q", got)
	}
	wrong := strings.Replace(more, "arn:aws", "x", 1)
	if _, err := c.Credentials(t.Context(), kubeletRequest("v1", l.Registry()+"/a:1", wrong)); err == nil || !strings.Contains(err.Error(), "become the role x:iam") {
		t.Errorf("error = %v", err)
	}
}

// Errors are for users: they are events of a pod.
func TestCredentialErrors(t *testing.T) {
	l := awslab.Local(t, awslab.Options{Denied: []string{"ecr:GetAuthorizationToken"}})
	c, _ := open(t, l)
	for name, e := range map[string]struct{ request, want string }{
		"denied":    {string(kubeletRequest("v1", l.Registry()+"/a:1", "")), "let the role have ecr:GetAuthorizationToken"},
		"elsewhere": {string(kubeletRequest("v1", "docker.io/library/debian", "")), "is not the host of a registry of ECR"},
		"no image":  {string(kubeletRequest("v1", "", "")), "is not the host of a registry of ECR"},
		"no JSON":   {"get", "read the kubelet's request"},
		"a pod":     {`{"kind":"Pod","apiVersion":"v1"}`, "is none for credentials"},
	} {
		if text, err := c.Credentials(t.Context(), []byte(e.request)); err == nil || !strings.Contains(err.Error(), e.want) {
			t.Errorf("%s: %s, %v, want %q", name, text, err, e.want)
		}
	}
}

// What servers and the kubelet write is never trusted to have a form.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"authorizationData":[{"authorizationToken":"QVdTOng=","expiresAt":1.7e9}]}`, `{"authorizationData":{"authorizationToken":"QVdTOng="}}`,
		`{"authorizationData":null}`, `{"__type":"a#AccessDeniedException","message":"no"}`, "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>",
		"<ErrorResponse><Error><Code>x</Code></Error></ErrorResponse>", string(kubeletRequest("v1", "public.ecr.aws/a", "")), "123456789012.dkr-ecr.us-east-1.on.aws",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(refusalOf("host", 400, text).Error()) > 2000 {
			t.Error("the error is long")
		}
		if a, err := readAuthorization(text); err == nil {
			_, _ = a.login()
			if cache := a.cache(time.Unix(1.7e9, 0)); cache < 0 {
				t.Errorf("the cache is %v", cache)
			}
		}
		if r, err := registryOf(hostOf(string(text))); err == nil && strings.Trim(r.api, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Errorf("the API is at %q", r.api)
		}
	})
}
