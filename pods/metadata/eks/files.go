package eks

import (
	"encoding/json"

	"kios/pods/metadata/want"
)

// TokenFile is where package aws keeps a token for the cluster: in memory, so that a node
// that has just booted joins only when all that was written before it is there.
const TokenFile = "/run/kios/aws/token"

// DefaultPods is the kubelet's own maximum, for a type of machine of which nothing is
// known.
const DefaultPods = 110

// ProvidersFile is where the kubelet's credential providers are configured.
const ProvidersFile = "/etc/kubernetes/credential-providers.yaml"

// Files are files of every node of EKS, for those of which the user has none.
func Files() []want.File {
	return []want.File{
		{Path: ProvidersFile, Content: credentialProviders(), Default: true},
		{Path: "/etc/kios/network.yaml", Content: []byte(network), Default: true},
	}
}

// network leaves the cards alone that the cluster's network plugin attaches. After a
// reboot the machine has them from the start.
const network = `# The first card is the machine's own. Others are the network plugin's.
unlisted: first
`

// registries are those of ECR, in all of its partitions.
var registries = []string{
	"*.dkr.ecr.*.amazonaws.com",
	"*.dkr-ecr.*.on.aws",
	"*.dkr.ecr.*.amazonaws.com.cn",
	"*.dkr-ecr.*.on.amazonwebservices.com.cn",
	"*.dkr.ecr-fips.*.amazonaws.com",
	"*.dkr-ecr-fips.*.on.aws",
	"*.dkr.ecr.*.c2s.ic.gov",
	"*.dkr.ecr.*.sc2s.sgov.gov",
	"*.dkr.ecr.*.cloud.adc-e.uk",
	"*.dkr.ecr.*.csp.hci.ic.gov",
	"*.dkr.ecr.*.amazonaws.eu",
	"public.ecr.aws",
	"ecr-public.aws.com",
}

// ProviderName is the name of the credential provider that the kubelet asks.
const ProviderName = "ecr-credential-provider"

// credentialProviders is a CredentialProviderConfig. Tokens of ECR are good for twelve
// hours.
func credentialProviders() []byte {
	text, err := json.MarshalIndent(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1",
		"kind":       "CredentialProviderConfig",
		"providers": []any{map[string]any{
			"name":                 ProviderName,
			"matchImages":          registries,
			"defaultCacheDuration": "12h",
			"apiVersion":           "credentialprovider.kubelet.k8s.io/v1",
		}},
	}, "", "  ")
	if err != nil {
		panic(err) // strings always encode
	}
	return append(text, '\n')
}
