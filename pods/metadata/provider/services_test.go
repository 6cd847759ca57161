package provider

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"kios/pods/metadata/want"
)

// service behaves as a cloud's metadata service does to its machine.
type service struct {
	dmi     map[string]string // of the machine, by file of sysfs
	listen  []string          // addresses of the service, in its cloud
	token   [3]string         // path, header field of the PUT, field that has the token
	header  [2]string         // that a request must have
	lowPort bool
	answers map[string]string // by path and query
	must    []string          // those of the answers that a machine cannot do without
	want    want.Machine      // without Jinja

	mu    sync.Mutex
	asked map[string]int
	fault func(n int, path string, w http.ResponseWriter, r *http.Request) bool // the nth time; true if it has answered
}

// forbids reports whether a request lacks what the cloud wants.
func (s *service) forbids(r *http.Request) bool {
	_, port, _ := net.SplitHostPort(r.RemoteAddr)
	n, _ := strconv.Atoi(port)
	return s.token[0] != "" && r.Header.Get(s.token[2]) != "the-token" ||
		s.header[0] != "" && r.Header.Get(s.header[0]) != s.header[1] ||
		s.lowPort && strings.HasPrefix(r.URL.Path, "/user_data") && n >= 1024
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RequestURI()
	if s.fault != nil && s.fault(s.count(path), path, w, r) {
		return
	}
	body, found := s.answers[path]
	switch {
	case r.Method == http.MethodPut && path == s.token[0] && r.Header.Get(s.token[1]) != "":
		fmt.Fprint(w, "the-token")
	case s.forbids(r):
		w.WriteHeader(http.StatusUnauthorized)
	case !found:
		w.WriteHeader(http.StatusNotFound)
	default:
		fmt.Fprint(w, body)
	}
}

func (s *service) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[path]++
	return s.asked[path]
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

const (
	cloudConfig = "#cloud-config\nhostname: x\n"
	packed      = "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogeAo=" // the same
	at          = "169.254.169.254"
)

// under gives paths the same beginning.
func under(prefix string, answers map[string]string) map[string]string {
	all := map[string]string{}
	for path, body := range answers {
		all[prefix+path] = body
	}
	return all
}

func with(answers map[string]string, path, body string) map[string]string {
	answers[path] = body
	return answers
}

// services have one for each row with a service.
var services = map[string]*service{
	"ec2": {
		dmi: map[string]string{"sys_vendor": "Amazon EC2", "product_uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"}, listen: []string{at, "fd00:ec2::254"},
		token: [3]string{"/latest/api/token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "X-Aws-Ec2-Metadata-Token"},
		answers: with(under("/latest/meta-data/", map[string]string{
			"instance-id": "i-0123456789abcdef0", "local-hostname": "ip-10-0-0-7.example.internal second.example", "local-ipv4": "10.0.0.7", "mac": "0a:ff:00:00:00:01",
			"network/interfaces/macs/0a:ff:00:00:00:01/ipv6s": "2001:db8::7\n2001:db8::8", "placement/availability-zone": "eu-central-1a",
			"placement/region": "eu-central-1", "placement/availability-zone-id": "euc1-az2", "instance-type": "m7i.large", "services/domain": "amazonaws.com",
		}), "/latest/user-data", cloudConfig),
		must: []string{"/latest/meta-data/instance-id", "/latest/meta-data/placement/availability-zone"},
		want: want.Machine{ID: "i-0123456789abcdef0", ProviderID: "aws:///eu-central-1a/i-0123456789abcdef0", Hostname: "ip-10-0-0-7.example.internal",
			Region: "eu-central-1", Zone: "eu-central-1a", Type: "m7i.large", Addresses: addrs("10.0.0.7", "2001:db8::7", "2001:db8::8")},
	},
	"gcp": {
		dmi: map[string]string{"product_name": "Google Compute Engine"}, listen: []string{at}, header: [2]string{"Metadata-Flavor", "Google"},
		answers: under("/computeMetadata/v1/", map[string]string{
			"instance/id": "1234567890123456789", "instance/name": "node-1", "instance/hostname": "node-1.c.project-a.internal", "instance/zone": "projects/99/zones/europe-west3-c",
			"project/project-id": "project-a", "instance/machine-type": "projects/99/machineTypes/e2-medium", "instance/network-interfaces/0/ip": "10.156.0.2",
			"instance/attributes/user-data": packed, "instance/attributes/user-data-encoding": "base64",
		}),
		must: []string{"/computeMetadata/v1/instance/id", "/computeMetadata/v1/instance/zone"},
		want: want.Machine{ID: "1234567890123456789", ProviderID: "gce://project-a/europe-west3-c/node-1", Hostname: "node-1",
			Region: "europe-west3", Zone: "europe-west3-c", Type: "e2-medium", Addresses: addrs("10.156.0.2")},
	},
	"azure": {
		dmi: map[string]string{"chassis_asset_tag": azureTag, "sys_vendor": "Microsoft Corporation"}, listen: []string{at}, header: [2]string{"Metadata", "true"},
		answers: map[string]string{"/metadata/instance?api-version=2021-02-01&format=json": `{"compute": {"location": "westEurope", "name": "vm-1", "osProfile": {"computerName": "VM-1"},
			"platformFaultDomain": "0", "zone": "2", "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "vmSize": "Standard_D2s_v5", "userData": "` + packed + `",
			"resourceId": "/subscriptions/8d10da13/resourceGroups/My-Group/providers/Microsoft.Compute/virtualMachines/vm-1"},
			"network": {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": "10.144.0.4", "publicIpAddress": "192.0.2.9"}]}, "ipv6": {"ipAddress": []}}]}}`},
		must: []string{"/metadata/instance?api-version=2021-02-01&format=json"},
		want: want.Machine{ID: "02aab8a4-74ef-476e-8182-f6d2ba4166a6", Hostname: "vm-1", Region: "westeurope", Zone: "westeurope-2", Type: "Standard_D2s_v5",
			ProviderID: "azure:///subscriptions/8d10da13/resourceGroups/my-group/providers/Microsoft.Compute/virtualMachines/vm-1", Addresses: addrs("10.144.0.4")},
	},
	"openstack": {
		dmi: map[string]string{"product_name": "OpenStack Nova"}, listen: []string{at},
		answers: map[string]string{
			"/openstack/latest/meta_data.json":    `{"uuid": "d8e02d56-2648-49a3-bf97-6be8f1204f38", "hostname": "node-1.novalocal", "name": "node-1", "availability_zone": "nova", "meta": {"role": "worker"}}`,
			"/openstack/latest/network_data.json": `{"links": [], "networks": []}`, "/openstack/latest/user_data": cloudConfig,
			"/latest/meta-data/instance-type": "m1.small", "/latest/meta-data/local-ipv4": "10.1.0.5",
		},
		must: []string{"/openstack/latest/meta_data.json"},
		want: want.Machine{ID: "d8e02d56-2648-49a3-bf97-6be8f1204f38", ProviderID: "openstack:///d8e02d56-2648-49a3-bf97-6be8f1204f38", Hostname: "node-1", Zone: "nova",
			Type: "m1.small", Addresses: addrs("10.1.0.5"), Network: &want.Network{Format: "openstack", Text: []byte(`{"links": [], "networks": []}`)}},
	},
	"hetzner": {
		dmi: map[string]string{"sys_vendor": "Hetzner"}, listen: []string{at},
		answers: under("/hetzner/v1/", map[string]string{
			"metadata":                "availability-zone: fsn1-dc14\nhostname: node-1\ninstance-id: 42\nlocal-ipv4: ''\npublic-ipv4: 192.0.2.7\nregion: eu-central\n",
			"metadata/network-config": "version: 1\nconfig: []\n", "userdata": cloudConfig,
		}),
		must: []string{"/hetzner/v1/metadata"},
		want: want.Machine{ID: "42", ProviderID: "hcloud://42", Hostname: "node-1", Region: "fsn1", Zone: "fsn1-dc14", Addresses: addrs("192.0.2.7"),
			Network: &want.Network{Format: "hetzner", Text: []byte("version: 1\nconfig: []\n")}},
	},
	"digitalocean": {
		dmi: map[string]string{"sys_vendor": "DigitalOcean"}, listen: []string{at},
		answers: map[string]string{"/metadata/v1.json": digitalOcean},
		must:    []string{"/metadata/v1.json"},
		want: want.Machine{ID: "2756294", ProviderID: "digitalocean://2756294", Hostname: "node-1.example.com", Region: "nyc3",
			Addresses: addrs("10.132.255.113", "192.0.2.20", "2001:db8::20"), Network: &want.Network{Format: "digitalocean", Text: []byte(digitalOcean)}},
	},
	"vultr": {
		dmi: map[string]string{"sys_vendor": "Vultr"}, listen: []string{at}, header: [2]string{"Metadata-Token", "cloudinit"},
		answers: map[string]string{"/latest/user-data": cloudConfig, "/v1.json": `{"hostname": "node-1", "instanceid": "42872224", "instance-v2-id": "29bea708-2e6e-480a-90ad-0e6b5d5ad62f",
			"region": {"regioncode": "EWR"}, "interfaces": [{"ipv4": {"address": "192.0.2.30"}, "network-type": "public"}, {"ipv4": {"address": "10.1.112.3"}, "network-type": "private"}]}`},
		must: []string{"/v1.json"},
		want: want.Machine{ID: "29bea708-2e6e-480a-90ad-0e6b5d5ad62f", ProviderID: "vultr://29bea708-2e6e-480a-90ad-0e6b5d5ad62f", Hostname: "node-1", Region: "EWR", Addresses: addrs("10.1.112.3", "192.0.2.30")},
	},
	"oracle": {
		dmi: map[string]string{"chassis_asset_tag": "OracleCloud.com"}, listen: []string{at}, header: [2]string{"Authorization", "Bearer Oracle"},
		answers: under("/opc/v2/", map[string]string{
			"instance/": `{"id": "ocid1.instance.oc1.phx.abc", "displayName": "My node", "hostname": "node-1", "availabilityDomain": "EMIr:PHX-AD-1", "canonicalRegionName": "us-phoenix-1",
				"region": "phx", "shape": "VM.Standard.E4.Flex", "metadata": {"user_data": "` + packed + `"}}`,
			"vnics/": `[{"privateIp": "10.0.3.6", "vlanTag": 1}]`,
		}),
		must: []string{"/opc/v2/instance/"},
		want: want.Machine{ID: "ocid1.instance.oc1.phx.abc", ProviderID: "oci://ocid1.instance.oc1.phx.abc", Hostname: "node-1", Region: "us-phoenix-1", Zone: "PHX-AD-1",
			Type: "VM.Standard.E4.Flex", Addresses: addrs("10.0.3.6")},
	},
	"scaleway": {
		dmi: map[string]string{"sys_vendor": "Scaleway"}, listen: []string{"169.254.42.42", "fd00:42::42"}, lowPort: true,
		answers: map[string]string{"/user_data/cloud-init": cloudConfig, "/conf?format=json": `{"id": "83a2b1c7-1111-4222-8333-012345abcdef", "name": "node-1", "hostname": "node-1",
			"commercial_type": "PRO2-S", "private_ip": null, "zone": "fr-par-1", "public_ips_v4": [{"address": "192.0.2.40"}], "public_ips_v6": []}`},
		must: []string{"/conf?format=json"},
		want: want.Machine{ID: "83a2b1c7-1111-4222-8333-012345abcdef", ProviderID: "scaleway://instance/fr-par-1/83a2b1c7-1111-4222-8333-012345abcdef", Hostname: "node-1",
			Region: "fr-par", Zone: "fr-par-1", Type: "PRO2-S", Addresses: addrs("192.0.2.40")},
	},
	"upcloud": {
		dmi: map[string]string{"sys_vendor": "UpCloud"}, listen: []string{at},
		answers: map[string]string{"/metadata/v1.json": `{"instance_id": "00d5dac5-7b0e-4c4c-8dd4-5d4b5ac1fc5c", "hostname": "node-1", "region": "fi-hel1", "user_data": "#cloud-config\nhostname: x\n",
			"network": {"interfaces": [{"type": "public", "ip_addresses": [{"address": "192.0.2.50", "family": "IPv4"}]}, {"type": "utility", "ip_addresses": [{"address": "10.3.0.9", "family": "IPv4"}]}]}}`},
		must: []string{"/metadata/v1.json"},
		want: want.Machine{ID: "00d5dac5-7b0e-4c4c-8dd4-5d4b5ac1fc5c", Hostname: "node-1", Region: "fi-hel1", Addresses: addrs("10.3.0.9", "192.0.2.50")},
	},
	"exoscale": {
		dmi: map[string]string{"product_name": "Exoscale Compute Platform"}, listen: []string{at},
		answers: under("/1.0/", map[string]string{"meta-data/instance-id": "dbb1a5e6-0001-4001-8001-012345abcdef", "meta-data/local-hostname": "node-1", "meta-data/availability-zone": "ch-gva-2",
			"meta-data/service-offering": "standard.medium", "meta-data/local-ipv4": "192.0.2.60", "meta-data/public-ipv4": "192.0.2.60", "user-data": cloudConfig}),
		must: []string{"/1.0/meta-data/instance-id"},
		want: want.Machine{ID: "dbb1a5e6-0001-4001-8001-012345abcdef", ProviderID: "exoscale://dbb1a5e6-0001-4001-8001-012345abcdef", Hostname: "node-1", Region: "ch-gva-2",
			Type: "standard.medium", Addresses: addrs("192.0.2.60")},
	},
	"akamai": {
		dmi: map[string]string{"sys_vendor": "Akamai"}, listen: []string{at, "fd00:a9fe:a9fe::1"},
		token: [3]string{"/v1/token", "Metadata-Token-Expiry-Seconds", "Metadata-Token"},
		answers: map[string]string{
			"/v1/instance": `{"id": 12345, "label": "node-1", "region": "us-east", "type": "g6-standard-2"}`, "/v1/user-data": packed,
			"/v1/network": `{"interfaces": [], "ipv4": {"public": ["192.0.2.70/32"], "private": ["192.168.129.5/17"]}, "ipv6": {"slaac": "2001:db8::70/128", "link_local": "fe80::1/128"}}`,
		},
		must: []string{"/v1/instance"},
		want: want.Machine{ID: "12345", ProviderID: "linode://12345", Hostname: "node-1", Region: "us-east", Type: "g6-standard-2", Addresses: addrs("192.168.129.5", "192.0.2.70", "2001:db8::70")},
	},
	"alibaba": {
		dmi: map[string]string{"product_name": "Alibaba Cloud ECS"}, listen: []string{"100.100.100.200"},
		token: [3]string{"/latest/api/token", "X-Aliyun-Ecs-Metadata-Token-Ttl-Seconds", "X-Aliyun-Ecs-Metadata-Token"},
		answers: with(under("/latest/meta-data/", map[string]string{"instance-id": "i-bp1abc", "hostname": "node-1", "zone-id": "cn-hangzhou-i", "region-id": "cn-hangzhou",
			"instance/instance-type": "ecs.g7.large", "private-ipv4": "192.168.0.4"}), "/latest/user-data", cloudConfig),
		must: []string{"/latest/meta-data/instance-id"},
		want: want.Machine{ID: "i-bp1abc", ProviderID: "cn-hangzhou.i-bp1abc", Hostname: "node-1", Region: "cn-hangzhou", Zone: "cn-hangzhou-i", Type: "ecs.g7.large", Addresses: addrs("192.168.0.4")},
	},
	"cloudstack": {
		dmi: map[string]string{"product_name": "CloudStack KVM Hypervisor"}, listen: []string{"10.1.1.1"},
		answers: with(under("/latest/meta-data/", map[string]string{"instance-id": "6f2b0a4d-aaaa-4bbb-8ccc-012345abcdef", "local-hostname": "node-1", "availability-zone": "zone-1",
			"service-offering": "Medium", "local-ipv4": "10.1.1.50"}), "/latest/user-data", cloudConfig),
		must: []string{"/latest/meta-data/instance-id"},
		want: want.Machine{ID: "6f2b0a4d-aaaa-4bbb-8ccc-012345abcdef", Hostname: "node-1", Zone: "zone-1", Type: "Medium", Addresses: addrs("10.1.1.50")},
	},
}

const digitalOcean = `{"droplet_id": 2756294, "hostname": "node-1.example.com", "region": "nyc3", "user_data": "#cloud-config\nhostname: x\n", "dns": {"nameservers": ["192.0.2.53"]},
	"interfaces": {"public": [{"ipv4": {"ip_address": "192.0.2.20"}, "ipv6": {"ip_address": "2001:DB8::20"}}], "private": [{"ipv4": {"ip_address": "10.132.255.113"}}]}}`
