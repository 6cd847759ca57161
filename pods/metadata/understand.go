package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"kios/internal/userfile"
	"kios/pods/metadata/cloudconfig"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/firstkios"
	"kios/pods/metadata/ignition"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/netdata"
	"kios/pods/metadata/nodeconfig"
	"kios/pods/metadata/userdata"
	"kios/pods/metadata/want"
)

// understand reads the user data. With an error, too, the node is what the rest asks for.
func (r *reading) understand(ctx context.Context) error {
	eksNode := &nodeconfig.Collector{Root: r.Root, TypeInfo: r.typeInfo(ctx)}
	n, err := userdata.Read(r.machine.UserData, r.machine, userdata.Handlers{
		NodeConfig:  eksNode.Read,
		FirstKiOS:   firstkios.Read,
		CloudConfig: cloudconfig.Reader{Join: kubeadm.Read}.Read,
		Ignition:    ignition.Reader{Join: kubeadm.Read}.Read,
	})
	r.node = n // typeInfo looks at its environment
	err = errors.Join(err, eksNode.Finish(r.machine, n))
	n.Unread = err != nil && n.IsEmpty()
	if firmware := r.machine.Node; firmware != nil {
		underlay(n, firmware)
	}
	if n.EKS != nil && n.Hostname != "" {
		n.Skip("the name by which EKS knows an instance is not used, as the user data or the firmware call the node %s: leave that out if the cluster refuses the node", n.Hostname)
	}
	return err
}

// underlay adds what the firmware wants of the node, where user data do not say it.
func underlay(n, firmware *want.Node) {
	n.Hostname = cmp.Or(n.Hostname, firmware.Hostname)
	labels := maps.Clone(firmware.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, n.Labels)
	n.Labels = labels
	if n.Nameservers == nil {
		n.Nameservers = firmware.Nameservers
	}
	if n.Join == nil {
		n.Join = firmware.Join
		n.Kubelet = want.Overlay(firmware.Kubelet, n.Kubelet)
	}
	n.Files = append(slices.Clone(firmware.Files), n.Files...)
	n.Skipped = append(n.Skipped, firmware.Skipped...)
}

// typeBound is how long a type of machine that is not in the table may hold up the node.
const typeBound = 20 * time.Second

// typeInfo asks EC2 for what the table does not have.
func (r *reading) typeInfo(ctx context.Context) func(string) (eks.Limits, error) {
	if r.ec2 == nil {
		return nil
	}
	return func(instanceType string) (eks.Limits, error) {
		ctx, cancel := context.WithTimeout(ctx, typeBound)
		defer cancel()
		interfaces, addresses, err := r.openEC2().TypeInfo(ctx, instanceType)
		return eks.Limits{ENIs: interfaces, IPs: addresses}, err
	}
}

// network makes network.yaml of what the cloud says of the network, where DHCP does not
// say it.
func (r *reading) network() ([]want.File, error) {
	text, skipped, err := netdata.Convert(r.machine.Network)
	r.node.Skipped = append(r.node.Skipped, skipped...)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return []want.File{{Path: "/etc/kios/network.yaml", Content: text, Default: true}}, nil
}

// disks has the pod disk make a data partition of the disks that belong to the machine.
func (r *reading) disks() []want.File {
	text := "device: instance-store\n"
	switch r.node.DataDisks {
	case "one":
	case "striped":
		text += "striped: true\n"
	default:
		return nil
	}
	return []want.File{{Path: "/etc/kios/disk.yaml", Content: []byte(text), Default: true}}
}

// dhcpServers returns those that the pod network has leases of.
func (s *Service) dhcpServers() (servers []netip.Addr) {
	records, _ := filepath.Glob(filepath.Join(s.Root, "run/kios/network/*.json"))
	for _, path := range records {
		var record struct{ Lease *struct{ Server netip.Addr } }
		text, err := userfile.Read(path, userfile.Max)
		if err != nil || json.Unmarshal(text, &record) != nil || record.Lease == nil || !record.Lease.Server.IsValid() {
			continue
		}
		servers = append(servers, record.Lease.Server)
	}
	return servers
}
