package aws

import (
	"fmt"
	"slices"
	"strings"

	"kios/internal/rfc1123"
)

// registry is a registry of ECR, and where the API is that gives credentials for it.
type registry struct {
	region, domain string
	api            string // host
	public         bool
}

// publicRegion is where the API of the public registry is, for all regions.
const publicRegion = "us-east-1"

// privateDomains are those of private registries, and of their APIs. Hosts of the short
// form dkr-ecr have IPv6 addresses, and so have their APIs.
var privateDomains = [...]struct{ registry, api string }{
	{"amazonaws.com", "amazonaws.com"},
	{"amazonaws.com.cn", "amazonaws.com.cn"},
	{"amazonaws.eu", "amazonaws.eu"},
	{"c2s.ic.gov", "c2s.ic.gov"},
	{"sc2s.sgov.gov", "sc2s.sgov.gov"},
	{"cloud.adc-e.uk", "cloud.adc-e.uk"},
	{"csp.hci.ic.gov", "csp.hci.ic.gov"},
	{"on.aws", "api.aws"},
	{"on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn"},
}

// registryOf tells by the host of a registry where its API is. The host comes from the
// manifest of a pod, and is not asked itself. A private one is
//
//	ACCOUNT.dkr.ecr.REGION.amazonaws.com  with the API  api.ecr.REGION.amazonaws.com
//	ACCOUNT.dkr-ecr.REGION.on.aws         with the API  ecr.REGION.api.aws
//
// each also with ecr-fips.
func registryOf(host string) (registry, error) {
	switch host {
	case "public.ecr.aws":
		return registry{publicRegion, "amazonaws.com", "api.ecr-public." + publicRegion + ".amazonaws.com", true}, nil
	case "ecr-public.aws.com":
		return registry{publicRegion, "amazonaws.com", "ecr-public." + publicRegion + ".api.aws", true}, nil
	}
	r, ok := privateRegistry(host)
	if !ok {
		return r, fmt.Errorf("%.253q is not the host of a registry of ECR, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com: take it out of matchImages of the provider", host)
	}
	return r, nil
}

func privateRegistry(host string) (r registry, ok bool) {
	account, rest, _ := strings.Cut(host, ".")
	if len(account) != 12 || strings.Trim(account, "0123456789") != "" {
		return r, false
	}
	service, prefix := "", "api."
	for _, name := range []string{"ecr", "ecr-fips"} {
		if after, found := strings.CutPrefix(rest, "dkr."+name+"."); found {
			service, rest = name, after
		} else if after, found := strings.CutPrefix(rest, "dkr-"+name+"."); found {
			service, rest, prefix = name, after, ""
		}
	}
	region, domain, _ := strings.Cut(rest, ".")
	i := slices.IndexFunc(privateDomains[:], func(d struct{ registry, api string }) bool { return d.registry == domain })
	if service == "" || i < 0 || !rfc1123.IsLabel(region) {
		return r, false
	}
	api := privateDomains[i].api
	if strings.HasPrefix(domain, "on.") {
		prefix = ""
	}
	return registry{region, domain, prefix + service + "." + region + "." + api, false}, true
}

// sts is the host that gives credentials of other roles.
func (r registry) sts() string {
	switch r.domain {
	case "on.aws":
		return "sts." + r.region + ".api.aws"
	case "on.amazonwebservices.com.cn":
		return "sts." + r.region + ".api.amazonwebservices.com.cn"
	}
	return "sts." + r.region + "." + r.domain
}

// hostOf returns the registry of an image.
func hostOf(image string) string {
	image = strings.TrimPrefix(image, "https://")
	host, _, _ := strings.Cut(image, "/")
	return host
}
