package nodeconfig

import (
	"net/netip"
	"slices"
	"strings"

	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/want"
)

// flags gives the kubelet the user's flags, in words as systemd gives it those of a file
// of environment variables, where nodeadm puts them. The last one of a name counts.
func (c *Collector) flags(is4 bool, m *want.Machine, n *want.Node) {
	n.Flags = append(n.Flags, "--cloud-provider=external")
	c.address(is4, m, n)
	for _, flag := range join(kubeadm.Words(unescape(strings.Join(c.spec.Kubelet.Flags, " ")))) {
		if name, value, _ := strings.Cut(flag, "="); name == "--cloud-provider" && value != "external" {
			n.Skip("NodeConfig: kubelet.flags: %.200s is not used: a node of EKS has the provider external", flag)
			continue
		}
		n.Flags = append(n.Flags, flag)
	}
}

// address has the kubelet report the machine's address of the cluster's family. A machine
// may have both.
func (c *Collector) address(is4 bool, m *want.Machine, n *want.Node) {
	i := slices.IndexFunc(m.Addresses, func(a netip.Addr) bool { return a.Unmap().Is4() == is4 })
	if i < 0 {
		n.Skip("the machine has no address of the family of %.100s, the cluster's services: the kubelet picks one", c.spec.Cluster.CIDR)
		return
	}
	n.Flags = append(n.Flags, "--node-ip="+m.Addresses[i].Unmap().String())
}

// unescape is the first thing that systemd does, as it reads the file: a backslash stands
// for the character after it. Quotes inside of a value stay until it splits the variable
// into words.
func unescape(text string) string {
	var out strings.Builder
	escaped := false
	for _, r := range text {
		if !escaped && r == '\\' {
			escaped = true
			continue
		}
		escaped = false
		out.WriteRune(r)
	}
	return out.String()
}

// join makes --name=value of each flag, of two words if the value is one of its own. The
// kubelet takes a flag without a value for true, and _ for - in names.
func join(words []string) []string {
	var flags []string
	for i := 0; i < len(words); i++ {
		name, value, found := strings.Cut(words[i], "=")
		if next := i + 1; !found && next < len(words) && !strings.HasPrefix(words[next], "-") {
			value, found = words[next], true
			i = next
		}
		if !found {
			value = "true"
		}
		flags = append(flags, "--"+strings.ReplaceAll(strings.TrimLeft(name, "-"), "_", "-")+"="+value)
	}
	return flags
}
