package clusterconfig

import (
	"fmt"
	"maps"
	"slices"

	"kios/host/join"
	"kios/internal/identity"
)

// Node is a machine that is to be a node.
type Node struct {
	Name string // its host name
	// Address is the one at which the API server and other nodes reach it. A
	// worker without one uses that of its default route; a control plane, the
	// endpoint's if that is an address.
	Address string
	Labels  map[string]string
	Taints  []string // KEY=VALUE:EFFECT or KEY:EFFECT
	// Alone is for a control plane without workers: it takes other pods, too.
	Alone bool
}

// controlPlaneTaint keeps pods off the control plane that do not say that they
// may run there.
const controlPlaneTaint = "node-role.kubernetes.io/control-plane:NoSchedule"

// Worker returns the files of a node that joins with the bootstrap token.
func (c *Cluster) Worker(n Node) (Files, error) {
	return c.joinFiles(n, join.Options{Server: c.cfg.Endpoint, CA: c.CA(), Token: c.token})
}

// ControlPlane returns the files of the node that runs the control plane.
func (c *Cluster) ControlPlane(n Node) (Files, error) {
	name, err := identity.ParseHostname(n.Name) // the certificate has the name that the node will have
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", n.Name, err)
	}
	n.Name = name
	if n.Address == "" {
		n.Address = c.advertise
	}
	if !n.Alone {
		n.Taints = append([]string{controlPlaneTaint}, n.Taints...)
	}
	conf, err := c.nodeKubeconfig(n)
	if err != nil {
		return nil, err
	}
	node, err := c.joinFiles(n, join.Options{Kubeconfig: conf})
	if err != nil {
		return nil, err
	}
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	pods, err := c.staticPods(n)
	return slices.Concat(node, keys, pods), err
}

// joinFiles adds to how a node gets at the API server what each node has.
func (c *Cluster) joinFiles(n Node, o join.Options) (Files, error) {
	if n.Name == "" {
		return nil, fmt.Errorf("a node of the cluster %s has no name", c.cfg.Name)
	}
	o.Name, o.NodeIP, o.Taints = n.Name, n.Address, n.Taints
	o.ClusterDNS = []string{c.dns.String()}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		o.Labels = append(o.Labels, key+"="+n.Labels[key])
	}
	files, err := join.Files(o)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, err)
	}
	return files, nil
}

// nodeKubeconfig has a certificate for the node. Others get theirs by the token;
// the one that runs the API server cannot ask it yet.
func (c *Cluster) nodeKubeconfig(n Node) ([]byte, error) {
	user := "system:node:" + n.Name
	pair, err := c.pki.cluster.Client(user, "system:nodes")
	if err != nil {
		return nil, err
	}
	return c.kubeconfig(c.loopback(), user, pair)
}
