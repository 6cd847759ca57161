package provider

import (
	"slices"
	"strings"

	"kios/pods/metadata/fetch"
	"kios/pods/metadata/machine"
	"kios/pods/metadata/netdata"
)

// row is a cloud: how it is recognised, and what its service says where.
type row struct {
	name  string
	match func(machine.DMI) bool
	// disks says that its machines can have their data on a disk.
	disks bool

	// The service, if there is one.
	bases   []string
	header  map[string]string
	token   *fetch.Token
	lowPort bool
	dhcp    bool // the service is also where DHCP is

	// What it says of the machine: documents, or a tree with a value at each path.
	documents []source
	tree      tree
	facts     facts
	fqdn      bool   // the host name is the one with the domain
	id        string // the provider id, a template for fillIn

	userData source // a path of the service
	within   string // or one in the document
	base64   bool   // user data always are

	network string // format of package netdata
	netPath string // of the service; "" for the document itself

	inTemplates string // by what templates know the document, beside ds.meta_data

	// adjust does what the paths of facts cannot say.
	adjust func(*answer)
}

// source is something that a service has at a path.
type source struct {
	path   string
	accept string // the field Accept, if the service wants it
	yaml   bool
	under  string // name of it in the document; "" for the document itself
	absent bool   // it need not be there
}

// tree is a service with one value at each path.
type tree struct {
	path     string
	required []string
	optional []string // {mac} is the first interface
}

const (
	linkLocal  = "http://169.254.169.254"
	jsonAnswer = "application/json"
)

func vendor(names ...string) func(machine.DMI) bool {
	return func(d machine.DMI) bool { return slices.Contains(names, d.SysVendor) }
}

func product(prefix string) func(machine.DMI) bool {
	return func(d machine.DMI) bool { return strings.HasPrefix(d.ProductName, prefix) }
}

func assetTag(tag string) func(machine.DMI) bool {
	return func(d machine.DMI) bool { return d.ChassisAssetTag == tag }
}

// isEC2 does not take a UUID that begins with ec2 for enough: one of 4096 does by chance.
// On Xen, the serial number is the UUID.
func isEC2(d machine.DMI) bool {
	xen := strings.HasPrefix(strings.ToLower(d.ProductUUID), "ec2") && strings.EqualFold(d.ProductUUID, d.ProductSerial)
	return d.SysVendor == "Amazon EC2" || d.BIOSVendor == "Amazon EC2" || strings.Contains(d.BIOSVersion, "amazon") || xen
}

func isGCP(d machine.DMI) bool {
	return d.ProductName == "Google Compute Engine" || strings.HasPrefix(d.ProductSerial, "GoogleCloud-")
}

func isOpenStack(d machine.DMI) bool {
	return slices.Contains([]string{"OpenStack Nova", "OpenStack Compute"}, d.ProductName) ||
		slices.Contains([]string{"OpenStack Nova", "OpenStack Compute", "OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", "Samsung Cloud Platform"}, d.ChassisAssetTag)
}

// azureTag is on all of Azure's machines and no others of Hyper-V.
const azureTag = "7783-7084-3265-9085-8269-3286-77"

func match(d machine.DMI) *row {
	for i := range rows {
		if rows[i].match(d) {
			return &rows[i]
		}
	}
	return nil
}

// EC2 is the name of the provider that a node goes on needing when it has its files.
const EC2 = "ec2"

// rows are all clouds that have a service, or whose machines need more than a label to be
// recognised.
var rows = []row{
	{
		name: EC2, match: isEC2,
		bases: []string{linkLocal, "http://[fd00:ec2::254]"},
		token: &fetch.Token{Path: "/latest/api/token", Ask: map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, Header: "X-aws-ec2-metadata-token"},
		tree: tree{"/latest/meta-data/", []string{"instance-id", "placement/availability-zone", "placement/region"}, []string{
			"local-hostname", "hostname", "local-ipv4", "mac", "instance-type", "placement/availability-zone-id", "services/domain", "network/interfaces/macs/{mac}/ipv6s"}},
		facts: facts{"instance-id", "local-hostname", "placement.region", "placement.availability-zone", "instance-type", []string{"local-ipv4", "network.interfaces.macs.*.ipv6s"}},
		fqdn:  true, id: "aws:///{zone}/{id}",
		userData: source{path: "/latest/user-data"},
		adjust:   adjustEC2,
	},
	{
		name: "gcp", match: isGCP,
		bases: []string{linkLocal}, header: map[string]string{"Metadata-Flavor": "Google"},
		tree: tree{"/computeMetadata/v1/", []string{"instance/id", "instance/name", "instance/zone", "project/project-id"}, []string{
			"instance/hostname", "instance/machine-type", "instance/network-interfaces/0/ip", "instance/network-interfaces/0/ipv6s", "instance/attributes/user-data-encoding"}},
		facts:    facts{"instance.id", "instance.hostname|instance.name", "", "", "", []string{"instance.network-interfaces.0.ip", "instance.network-interfaces.0.ipv6s"}},
		id:       "gce://{project.project-id}/{zone}/{instance.name}",
		userData: source{path: "/computeMetadata/v1/instance/attributes/user-data"},
		adjust:   adjustGCP,
	},
	{
		name: "azure", match: assetTag(azureTag),
		bases: []string{linkLocal}, header: map[string]string{"Metadata": "true"},
		documents: []source{{path: "/metadata/instance?api-version=2021-02-01&format=json"}},
		facts: facts{"compute.vmId", "compute.osProfile.computerName|compute.name", "compute.location", "", "compute.vmSize", []string{
			"network.interface.*.ipv4.ipAddress.*.privateIpAddress", "network.interface.*.ipv6.ipAddress.*.privateIpAddress"}},
		within: "compute.userData", base64: true,
		inTemplates: "ds.meta_data.imds", adjust: adjustAzure,
	},
	{
		name: "openstack", match: isOpenStack, disks: true,
		bases:     []string{linkLocal},
		documents: []source{{path: "/openstack/latest/meta_data.json"}},
		tree:      tree{"/latest/meta-data/", nil, []string{"instance-type", "local-ipv4"}},
		facts:     openStackFacts, id: openStackID,
		userData: source{path: "/openstack/latest/user_data"},
		network:  netdata.OpenStack, netPath: "/openstack/latest/network_data.json",
	},
	{
		name: "hetzner", match: vendor("Hetzner"),
		bases:     []string{linkLocal},
		documents: []source{{path: "/hetzner/v1/metadata", yaml: true}},
		facts:     facts{"instance-id", "hostname", "region", "availability-zone", "", []string{"local-ipv4", "public-ipv4"}},
		id:        "hcloud://{id}",
		userData:  source{path: "/hetzner/v1/userdata"},
		network:   netdata.Hetzner, netPath: "/hetzner/v1/metadata/network-config",
		adjust: adjustHetzner,
	},
	{
		name: "digitalocean", match: vendor("DigitalOcean"),
		bases:     []string{linkLocal},
		documents: []source{{path: "/metadata/v1.json"}},
		facts: facts{"droplet_id", "hostname", "region", "", "", []string{
			"interfaces.private.*.ipv4.ip_address", "interfaces.public.*.ipv4.ip_address", "interfaces.public.*.ipv6.ip_address"}},
		id: "digitalocean://{id}", within: "user_data", network: netdata.DigitalOcean, fqdn: true,
	},
	{
		name: "vultr", match: vendor("Vultr"),
		bases: []string{linkLocal}, header: map[string]string{"Metadata-Token": "cloudinit"},
		documents: []source{{path: "/v1.json"}},
		facts: facts{"instance-v2-id|instanceid", "hostname", "region.regioncode", "", "", []string{
			"interfaces.*.ipv4.address", "interfaces.*.ipv6.address"}},
		id: "vultr://{instance-v2-id}", userData: source{path: "/latest/user-data"}, fqdn: true,
	},
	{
		name: "oracle", match: assetTag("OracleCloud.com"),
		bases: []string{linkLocal}, header: map[string]string{"Authorization": "Bearer Oracle"},
		documents: []source{{path: "/opc/v2/instance/"}, {path: "/opc/v2/vnics/", under: "vnics", absent: true}},
		facts:     facts{"id", "hostname|displayName", "canonicalRegionName|region", "availabilityDomain", "shape", []string{"vnics.*.privateIp", "vnics.*.ipv6Addresses.*"}},
		id:        "oci://{id}", within: "metadata.user_data", base64: true,
		inTemplates: "ds", adjust: adjustOracle,
	},
	{
		name: "scaleway", match: vendor("Scaleway"),
		bases:     []string{"http://169.254.42.42", "http://[fd00:42::42]"},
		lowPort:   true,
		documents: []source{{path: "/conf?format=json"}},
		facts: facts{"id", "hostname|name", "", "zone|location.zone_id", "commercial_type", []string{
			"private_ip", "public_ips_v4.*.address", "public_ip.address", "public_ips_v6.*.address", "ipv6.address"}},
		id: "scaleway://instance/{zone}/{id}", userData: source{path: "/user_data/cloud-init"}, fqdn: true,
		adjust: adjustScaleway,
	},
	{
		name: "upcloud", match: vendor("UpCloud"),
		bases:     []string{linkLocal},
		documents: []source{{path: "/metadata/v1.json"}},
		facts:     facts{"instance_id", "hostname", "region", "", "", []string{"network.interfaces.*.ip_addresses.*.address"}},
		within:    "user_data", fqdn: true,
	},
	{
		name: "exoscale", match: product("Exoscale"),
		bases: []string{linkLocal},
		tree:  tree{"/1.0/meta-data/", []string{"instance-id"}, []string{"local-hostname", "availability-zone", "service-offering", "local-ipv4", "public-ipv4"}},
		facts: facts{"instance-id", "local-hostname", "availability-zone", "", "service-offering", []string{"local-ipv4", "public-ipv4"}},
		id:    "exoscale://{id}", userData: source{path: "/1.0/user-data"}, fqdn: true,
	},
	{
		name: "akamai", match: vendor("Akamai", "Linode"),
		bases:     []string{linkLocal, "http://[fd00:a9fe:a9fe::1]"},
		token:     &fetch.Token{Path: "/v1/token", Ask: map[string]string{"Metadata-Token-Expiry-Seconds": "3600"}, Header: "Metadata-Token"},
		documents: []source{{path: "/v1/instance", accept: jsonAnswer}, {path: "/v1/network", accept: jsonAnswer, under: "network", absent: true}},
		facts:     facts{"id", "label", "region", "", "type", []string{"network.ipv4.private.*", "network.ipv4.public.*", "network.ipv6.slaac"}},
		id:        "linode://{id}", userData: source{path: "/v1/user-data"}, base64: true, fqdn: true,
	},
	{
		name: "alibaba", match: product("Alibaba Cloud ECS"),
		bases: []string{"http://100.100.100.200"},
		token: &fetch.Token{Path: "/latest/api/token", Ask: map[string]string{"X-aliyun-ecs-metadata-token-ttl-seconds": "21600"}, Header: "X-aliyun-ecs-metadata-token"},
		tree: tree{"/latest/meta-data/", []string{"instance-id", "region-id"}, []string{
			"hostname", "zone-id", "instance/instance-type", "private-ipv4", "mac", "network/interfaces/macs/{mac}/ipv6s"}},
		facts: facts{"instance-id", "hostname", "region-id", "zone-id", "instance.instance-type", []string{"private-ipv4", "network.interfaces.macs.*.ipv6s"}},
		id:    "{region}.{id}", userData: source{path: "/latest/user-data"}, fqdn: true,
	},
	{
		name: "cloudstack", match: product("CloudStack"), disks: true,
		bases: []string{"http://data-server"}, dhcp: true,
		tree:     tree{"/latest/meta-data/", []string{"instance-id"}, []string{"local-hostname", "availability-zone", "service-offering", "local-ipv4"}},
		facts:    facts{"instance-id", "local-hostname", "", "availability-zone", "service-offering", []string{"local-ipv4"}},
		userData: source{path: "/latest/user-data"},
	},
	{
		// All that its machines have is on a disc: of an OVF, or NoCloud's.
		name: "vmware", match: vendor("VMware, Inc."), disks: true,
	},
}
