//go:build image

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// stranger is a node that has nothing of its own: its name and address come from elsewhere.
func stranger(t *testing.T, taps ...*os.File) *node {
	t.Helper()
	n := prepare(t, setup{
		noName: true, signs: true,
		// All that a disc with user data needs, and no more: emulated, each costs every boot seconds.
		pods: map[string]string{"node": "", "time": ""},
	})
	n.cfg.Taps = taps
	return n
}

// becomes boots the machine, and waits until its metadata have named it.
func (n *node) becomes(name string) {
	n.t.Helper()
	n.start()
	n.name = name
	n.running("probe")
	n.demandFile("/etc/hostname", name+"\n")
}

// demandFile demands that a file of the node has a text in it.
func (n *node) demandFile(path, want string) {
	n.t.Helper()
	if got := n.probe("cat", path); !strings.Contains(got, want) {
		n.t.Errorf("%s is\n%s\nwant %q in it", path, got, want)
	}
}

// demandNot demands that a file, or the list of a directory's names, has no such text.
func (n *node) demandNot(do, path, bad string) {
	n.t.Helper()
	if got := n.probe(do, path); strings.Contains(got, bad) {
		n.t.Errorf("%s is\n%s\nwith %q in it", path, got, bad)
	}
}

// saysOfItself is /run/kios/metadata.json.
type saysOfItself struct {
	Provider, InstanceID, ProviderID, Hostname, Zone string
	Addresses                                        []string
}

func (n *node) demandMetadata(provider, hostname string) (said saysOfItself) {
	n.t.Helper()
	text := n.probe("cat", "/run/kios/metadata.json")
	n.must(json.Unmarshal([]byte(text), &said))
	if said.Provider != provider || said.Hostname != hostname {
		n.t.Errorf("metadata.json is %s, want the provider %s and the host name %q", text, provider, hostname)
	}
	return said
}

// metadataLog is all that the pod metadata has said. The kubelet has it in another
// directory for each name of the node.
func (n *node) metadataLog() string {
	n.t.Helper()
	var all strings.Builder
	const pods = "/var/log/pods/"
	for pod := range strings.FieldsSeq(n.probe("list", pods)) {
		if !strings.HasPrefix(pod, "kube-system_metadata-") {
			continue
		}
		for name := range strings.FieldsSeq(n.probe("list", pods+pod+"/metadata")) {
			all.WriteString(n.probe("cat", pods+pod+"/metadata/"+name))
		}
	}
	return all.String()
}

// demandSaid demands that the pod metadata has said it.
func (n *node) demandSaid(want string) {
	n.t.Helper()
	if got := n.metadataLog(); !strings.Contains(got, want) {
		n.t.Errorf("the pod metadata says\n%s\nwant %q", got, want)
	}
}

// cloudConfig names a node, and gives it a label, as docs/cloud/others.md does.
func cloudConfig(name string) string {
	return `#cloud-config
hostname: ` + name + `
write_files:
  - path: /etc/kubernetes/node-labels
    content: |
      example.com/name: ` + name + "\n"
}

// web is where a lan has files.
const web = "http://10.78.0.1:8000"

// host serves files over HTTP.
func (l *lan) host(handler http.Handler) {
	server := &http.Server{Handler: handler}
	go server.Serve(netns.Listen(l.t, l.name, strings.TrimPrefix(web, "http://")))
	l.t.Cleanup(func() { server.Close() })
}

// forgeries is how often a node that checks a file gets another one. The pod says nothing of
// what fails in the first five seconds, in which it asks three times.
const forgeries = 4

// webFiles are the files, of which node.yaml is another one at first.
func webFiles(files map[string]string) http.HandlerFunc {
	var asked atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		text, there := files[r.URL.Path]
		switch {
		case !there:
			http.NotFound(w, r)
		case r.URL.Path == "/node.yaml" && asked.Add(1) <= forgeries:
			fmt.Fprint(w, cloudConfig("forged"))
		default:
			fmt.Fprint(w, text)
		}
	}
}

// source is where user data are, on a machine that differs in nothing else.
type source struct {
	name     string // of the node
	append   string // to the kernel's command line
	qemu     []string
	provider string
	hostname string // by the metadata, without the user data
	says     []string
}

func sources() []source {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(cloudConfig("by-url"))))
	return []source{
		{"by-url", "kios.config=" + web + "/node.yaml kios.config.sha256=" + sum, nil, "cmdline", "",
			[]string{"kios.config= on the kernel command line", "the SHA-256 of the answer is ", ", not " + sum}},
		{"by-string", "", smbiosString(cloudConfig("by-string")), "smbios", "",
			[]string{"the string of SMBIOS with kios.user-data"}},
		{"by-serial", "", []string{"-smbios", "type=1,serial=ds=nocloud;s=" + web + "/seed/"}, "nocloud", "seeded",
			[]string{"ds= in the machine's serial number"}},
	}
}

// smbiosString has QEMU give a machine user data in SMBIOS.
func smbiosString(text string) []string {
	return []string{"-smbios", "type=11,value=io.systemd.credential.binary:kios.user-data=" + base64.StdEncoding.EncodeToString([]byte(text))}
}

// TestUserDataSources has the same machine get its user data from the kernel command line,
// from a string of SMBIOS, and from a server that the serial number names. The network
// calls it by another name first.
func TestUserDataSources(t *testing.T) {
	lab.Long(t)
	l := newLAN(t)
	l.dhcp("leased")
	l.host(webFiles(map[string]string{
		"/node.yaml":      cloudConfig("by-url"),
		"/seed/user-data": cloudConfig("by-serial"),
		"/seed/meta-data": "instance-id: seed-1\nlocal-hostname: seeded.example.com\n",
	}))
	n := stranger(t, l.tap)
	n.cfg.Disks[0].Snapshot = true
	for _, tt := range sources() {
		t.Run(tt.name, func(t *testing.T) {
			one := *n
			one.t, one.cfg.Dir = t, t.TempDir()
			one.cfg.Append, one.cfg.Args = n.cfg.Append+" "+tt.append, tt.qemu
			checkSource(&one, tt)
		})
	}
}

func checkSource(n *node, from source) {
	n.becomes(from.name)
	n.demandFile("/etc/kubernetes/node-labels", "example.com/name: "+from.name+"\n")
	n.demandMetadata(from.provider, from.hostname)
	for _, line := range from.says {
		n.demandSaid(line)
	}
	n.powerOff()
}

// disc makes an ISO 9660 with these files, as hypervisors do.
func disc(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		lab.WriteFile(t, dir+"/files/"+name, text)
	}
	lab.Run(t, "genisoimage", "-quiet", "-volid", label, "-joliet", "-rock", "-output", dir+"/iso", dir+"/files")
	return dir + "/iso"
}

// proxmoxUserData are those of a machine without a snippet. Much of it needs a shell.
const proxmoxUserData = `#cloud-config
hostname: pve-1
manage_etc_hosts: true
fqdn: pve-1.example.com
chpasswd:
  expire: False
users:
  - default
package_upgrade: true
`

// proxmoxNetwork is what Proxmox writes for --ipconfig0 and --nameserver.
const proxmoxNetwork = `version: 1
config:
    - type: physical
      name: eth0
      mac_address: '52:54:00:4b:05:01'
      subnets:
      - type: static
        address: '10.78.0.70'
        netmask: '255.255.255.0'
        gateway: '10.78.0.1'
      - type: static6
        address: 'fd00:78::70/64'
        gateway: 'fd00:78::1'
    - type: nameserver
      address:
      - '10.78.0.53'
      search:
      - 'pve.example'
`

// bondNetwork has both cards in a bond, and a VLAN on it.
const bondNetwork = `version: 1
config:
- {type: physical, name: one, mac_address: "52:54:00:4b:05:01"}
- {type: physical, name: two, mac_address: "52:54:00:4b:05:02"}
- type: bond
  name: bond0
  bond_interfaces: [one, two]
  params: {bond-mode: active-backup, bond-miimon: 100}
  subnets: [{type: static, address: 10.78.0.71/24, gateway: 10.78.0.1}]
- type: vlan
  name: bond0.7
  vlan_id: 7
  vlan_link: bond0
  subnets: [{type: static, address: 10.80.0.71/24}]
- {type: nameserver, address: [10.78.0.54], search: [bond.example]}
`

// TestUserDataOnDisc has a machine get static addresses from Proxmox's disc, in a network
// whose DHCP would give it another one. With a disc of another instance id, the disk is
// another node's, which has a bond and a VLAN.
func TestUserDataOnDisc(t *testing.T) {
	lab.Long(t)
	l, taps := twoCards(t)
	netns.IP(t, l.name, "addr", "add", "fd00:78::1/64", "dev", "lan", "nodad")
	l.dhcp("leased")
	n := stranger(t, taps...)
	n.cfg.CDs = []string{disc(t, "cidata", map[string]string{
		"user-data": proxmoxUserData, "network-config": proxmoxNetwork, "meta-data": "instance-id: 5a2e\n",
	})}
	n.becomes("pve-1")
	if said := n.demandMetadata("nocloud", ""); said.InstanceID != "5a2e" {
		t.Errorf("metadata.json is %+v", said)
	}
	n.demandSaid("the disk cidata on /dev/sr0")
	n.demandSaid("users")
	l.demandAddresses(n, "10.78.0.70", "fd00:78::70")
	n.demandFile("/etc/resolv.conf", "nameserver 10.78.0.53")
	n.demandFile("/etc/resolv.conf", "pve.example")
	key := n.probe("sha256", "/var/lib/kubelet/pki/kubelet-server.key")
	n.powerOff()

	n.cfg.CDs = []string{disc(t, "cidata", map[string]string{
		"user-data": cloudConfig("pve-2"), "network-config": bondNetwork, "meta-data": "instance-id: 6b3f\n",
	})}
	n.becomes("pve-2")
	n.expect(`pod metadata: this disk was in another machine \(5a2e\): the node starts afresh`)
	if n.probe("sha256", "/var/lib/kubelet/pki/kubelet-server.key") == key {
		t.Error("another node has the key of the first")
	}
	l.demandAddresses(n, "10.78.0.71")
	n.demandFile("/proc/net/vlan/bond0.7", "VID: 7")
	n.demandFile("/proc/net/fib_trie", "10.80.0.71")
	n.demandFile("/etc/resolv.conf", "nameserver 10.78.0.54")
	n.demandNot("cat", "/etc/resolv.conf", "10.78.0.53")
	n.powerOff()
}

// demandAddresses demands that the node answers at these, and has none from DHCP.
func (l *lan) demandAddresses(n *node, addresses ...string) {
	l.t.Helper()
	for _, address := range addresses {
		n.eventually("an answer of "+address, func(ctx context.Context) error {
			conn, err := netns.Dial(ctx, l.name, "tcp", net.JoinHostPort(address, strconv.Itoa(kubeletapi.Port)))
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
	for _, leased := range []string{"10.78.0.60", "10.78.0.61"} {
		n.demandNot("cat", "/proc/net/fib_trie", leased)
	}
}

// driveNetwork is OpenStack's for a subnet without DHCP.
const driveNetwork = `{"links": [{"id": "tap1a81968a-79", "vif_id": "1a81968a-797a-400f-8a80-567f997eb93f", "type": "ovs", "mtu": 1450,
  "ethernet_mac_address": "52:54:00:4b:05:01"}],
"networks": [
 {"id": "network0", "type": "ipv4", "link": "tap1a81968a-79", "ip_address": "10.78.0.72", "netmask": "255.255.255.0",
  "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.78.0.1"}], "network_id": "da5bb487-5193-4a65-a3df-4a0055a8c0d7"},
 {"id": "network1", "type": "ipv6", "link": "tap1a81968a-79", "ip_address": "fd00:78::72", "netmask": "ffff:ffff:ffff:ffff::",
  "routes": [{"network": "::", "netmask": "::", "gateway": "fd00:78::1"}], "network_id": "da5bb487-5193-4a65-a3df-4a0055a8c0d8"}],
"services": [{"type": "dns", "address": "10.78.0.55"}]}`

// TestUserDataOpenStack has a machine of OpenStack get its address from its configuration
// drive, in a network whose DHCP would give it another one.
func TestUserDataOpenStack(t *testing.T) {
	lab.Long(t)
	l := newLAN(t)
	l.dhcp("leased")
	const id = "83679162-1378-4288-a2d4-70e13ec132aa"
	n := stranger(t, l.tap)
	n.cfg.Disks = append(n.cfg.Disks, qemu.Disk{ReadOnly: true, Path: disc(t, "config-2", map[string]string{
		"openstack/latest/user_data":         "#cloud-config\n{}\n",
		"openstack/latest/network_data.json": driveNetwork,
		"openstack/latest/meta_data.json":    `{"uuid": "` + id + `", "hostname": "stack-1.novalocal", "name": "stack-1", "availability_zone": "nova", "launch_index": 0}`,
	})})
	n.cfg.Args = []string{"-smbios", "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid=" + id}
	n.becomes("stack-1")
	if said := n.demandMetadata("openstack", "stack-1"); said.InstanceID != id || said.ProviderID != "openstack:///"+id || said.Zone != "nova" {
		t.Errorf("metadata.json is %+v", said)
	}
	n.demandSaid("the disk config-2 on /dev/vdb")
	n.demandFile("/etc/kubernetes/node-labels", "topology.kubernetes.io/zone: nova")
	l.demandAddresses(n, "10.78.0.72", "fd00:78::72")
	n.demandFile("/etc/resolv.conf", "nameserver 10.78.0.55")
	n.powerOff()
}
