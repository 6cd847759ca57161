package nodeconfig

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/metadata/want"
)

func (c *containerd) apply(n *want.Node) {
	n.Containerd = append(n.Containerd, c.configs...)
	if len(c.BaseRuntimeSpec) > 0 {
		n.Skip("NodeConfig: containerd.baseRuntimeSpec is not used: docs/node.md has the limits of processes")
	}
}

func (i *instance) apply(n *want.Node) {
	i.LocalStorage.apply(n)
	i.Network.apply(n)
	i.environment(n)
}

// apply has the disks that end with the machine be the data partition, on which is all that
// nodeadm puts there.
func (l *localStorage) apply(n *want.Node) {
	switch l.Strategy {
	case "":
		return
	case "RAID0":
		n.DataDisks = "striped"
	case "RAID10":
		n.DataDisks = "striped"
		n.Skip("NodeConfig: instance.localStorage.strategy RAID10: the disks are striped, without copies: what is on them ends with the machine anyway")
	case "Mount":
		n.DataDisks = "one"
		n.Skip("NodeConfig: instance.localStorage.strategy Mount: one disk is the node's data partition, the others are left alone")
	default:
		n.Skip("NodeConfig: instance.localStorage.strategy %.100q is unknown", l.Strategy)
		return
	}
	if l.MountPath != "" || len(l.DisabledMounts) > 0 {
		n.Skip("NodeConfig: instance.localStorage.mountPath and disabledMounts are not used: all data of the node are on these disks")
	}
}

func (w *network) apply(n *want.Node) {
	for _, server := range w.Nameservers {
		addr, err := netip.ParseAddr(server)
		if err != nil {
			n.Skip("NodeConfig: instance.network.nameservers: %.100q is not an address", server)
			continue
		}
		n.Nameservers = append(n.Nameservers, addr)
	}
	for _, domain := range w.Domains {
		if strings.HasPrefix(domain, "~") {
			n.Skip("NodeConfig: instance.network.domains: %.100q is not used: all names are asked of the same servers", domain)
			continue
		}
		n.Search = append(n.Search, domain)
	}
}

// daemons are the services that a node has, in the order in which their variables count.
// Both have the same environment, and what containerd pulls through counts the most.
var daemons = []string{"default", "kubelet", "containerd"}

func (i *instance) environment(n *want.Node) {
	for _, daemon := range daemons {
		n.Environment = union(n.Environment, i.Environment[daemon])
	}
	for _, name := range slices.Sorted(maps.Keys(i.Environment["kubelet"])) {
		if n.Environment[name] != i.Environment["kubelet"][name] {
			n.Skip("NodeConfig: instance.environment.kubelet.%.100s is not used: the kubelet has containerd's environment", name)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(i.Environment)) {
		if !slices.Contains(daemons, service) {
			n.Skip("NodeConfig: instance.environment.%.100s is not used: there is no such service", service)
		}
	}
}
