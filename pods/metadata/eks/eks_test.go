package eks

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kios/pods/metadata/want"
	"kios/pods/network/netconf"
)

func TestOfType(t *testing.T) {
	tests := []struct {
		name string
		pods int // 0 for a type that is not known
	}{
		// As the network plugin's own list eni-max-pods.txt has them.
		{"m5.large", 29}, {"t3.medium", 17}, {"t3.nano", 4}, {"c7i.48xlarge", 737}, {"m7g.medium", 8}, {"u-24tb1.metal", 737}, {"u7i-12tb.224xlarge", 737},
		// With several network cards, the one counts that is there from the start.
		{"p5.48xlarge", 100}, {"i7ie.48xlarge", 394},
		{"m5", 0}, {"m5.", 0}, {"", 0}, {"m99.large", 0}, {"large=3/10.x", 0}, {"m5.large=3", 0}, {":.large", 0},
	}
	for _, tt := range tests {
		limits, known := OfType(tt.name)
		if known != (tt.pods > 0) || known && limits.Pods() != tt.pods {
			t.Errorf("OfType(%q) = %+v (%d pods), %v, want %d pods", tt.name, limits, limits.Pods(), known, tt.pods)
		}
	}
}

// number takes what is here for a number, and OfType looks at one line of a family.
func TestTheTableIsWellFormed(t *testing.T) {
	line := regexp.MustCompile(`^([a-z0-9-]+ )*[a-z0-9-]+:( [a-z0-9-]+=[1-9][0-9]*/[1-9][0-9]*)+\n$`)
	seen := map[string]bool{}
	for l := range strings.Lines(limits) {
		if !line.MatchString(l) {
			t.Errorf("the line %q is not one", l)
		}
		families, _, _ := strings.Cut(l, ":")
		for family := range strings.FieldsSeq(families) {
			if seen[family] {
				t.Errorf("%s is there twice", family)
			}
			seen[family] = true
		}
	}
	if len(seen) < 190 || len(limits) > 16<<10 {
		t.Errorf("%d families, %d bytes", len(seen), len(limits))
	}
}

func TestFiles(t *testing.T) {
	files := map[string][]byte{}
	for _, f := range Files() {
		files[f.Path] = f.Content
		if !f.Default {
			t.Errorf("%s counts in place of the user's", f.Path)
		}
	}
	config, errs := netconf.Parse("network.yaml", files["/etc/kios/network.yaml"])
	if len(errs) > 0 || config.Unlisted != netconf.First {
		t.Errorf("network.yaml: %+v, %v", config, errs)
	}
	var providers struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Providers  []struct {
			Name, APIVersion, DefaultCacheDuration string
			MatchImages                            []string
		} `json:"providers"`
	}
	if err := yaml.UnmarshalStrict(files["/etc/kubernetes/credential-providers.yaml"], &providers); err != nil || len(providers.Providers) != 1 {
		t.Fatalf("credential-providers.yaml: %+v, %v", providers, err)
	}
	if p := providers.Providers[0]; p.Name != ProviderName || len(p.MatchImages) != 13 || p.DefaultCacheDuration != "12h" {
		t.Errorf("the provider is %+v", p)
	}
}

func TestJoin(t *testing.T) {
	const ca = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BQT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
	tests := []struct{ name, endpoint, ca, want string }{
		{"good", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", ca, ""},
		{"in lines", "https://abc/", ca[:40] + "\r\n" + ca[40:] + "\r\n", ""},
		{"without TLS", "http://abc", ca, `"http://abc" is not the address of an API server`},
		{"a name", "abc", ca, "https://NAME"},
		{"a user", "https://a:b@abc", ca, "https://NAME"},
		{"no CA", "https://abc", "Y2EtYnVuZGxlCg==", "aws eks describe-cluster prints it"},
		{"PEM", "https://abc", "-----BEGIN CERTIFICATE-----", "is not a certificate in base64"},
	}
	for _, tt := range tests {
		var n want.Node
		err := Join(&n, "dev", tt.endpoint, tt.ca)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || n.Join != nil {
				t.Errorf("%s: %v, %+v, want %q", tt.name, err, n.Join, tt.want)
			}
			continue
		}
		if err != nil || n.EKS.Cluster != "dev" || n.Join.TokenFile != TokenFile || strings.HasSuffix(n.Join.Server, "/") || !strings.HasPrefix(string(n.Join.CA), "-----BEGIN CERTIFICATE") {
			t.Errorf("%s: %+v, %v", tt.name, n.Join, err)
		}
	}
}
