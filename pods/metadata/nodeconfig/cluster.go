package nodeconfig

import (
	"fmt"
	"net/netip"
	"strings"

	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

// join makes the node a member of its cluster, and returns the address of the cluster's
// DNS. All that is missing is named at once.
func (c *cluster) join(n *want.Node) (netip.Addr, error) {
	if err := c.required(); err != nil {
		return netip.Addr{}, err
	}
	dns, err := clusterDNS(c.CIDR)
	if err != nil {
		return netip.Addr{}, err
	}
	name := c.Name
	if c.outpost() {
		name = c.ID
		n.Skip("NodeConfig: cluster.enableOutpost: the node gets a token from the region every few minutes: it loses its cluster while the Outpost is disconnected")
	}
	if err := eks.Join(n, name, c.Server, c.CA); err != nil {
		return netip.Addr{}, fmt.Errorf("spec.cluster: %w", err)
	}
	return dns, nil
}

func (c *cluster) outpost() bool { return c.OnOutpost != nil && *c.OnOutpost }

func (c *cluster) required() error {
	var missing []string
	for _, field := range [][2]string{{"name", c.Name}, {"apiServerEndpoint", c.Server}, {"certificateAuthority", c.CA}, {"cidr", c.CIDR}} {
		if field[1] == "" {
			missing = append(missing, "spec.cluster."+field[0])
		}
	}
	if c.outpost() && c.ID == "" {
		missing = append(missing, "spec.cluster.id")
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("it lacks %s: aws eks describe-cluster prints them", strings.Join(missing, ", "))
}

// clusterDNS returns the address that EKS gives the cluster's DNS in a range of services:
// the tenth. Like nodeadm, it looks at the text and not at the length of the prefix.
func clusterDNS(cidr string) (netip.Addr, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("spec.cluster.cidr: %.100q is not a range of addresses, such as 172.20.0.0/16", cidr)
	}
	text, _, _ := strings.Cut(cidr, "/")
	if prefix.Addr().Unmap().Is4() {
		text = text[:strings.LastIndexByte(text, '.')] + ".10"
	} else {
		text += "a"
	}
	dns, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("spec.cluster.cidr: %.100q leads to no address of the cluster's DNS: write it as aws eks describe-cluster prints it", cidr)
	}
	return dns, nil
}
