package nodeconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

const (
	group   = "node.eks.aws"
	version = group + "/v1alpha1"
)

// Collector takes the NodeConfigs of a machine's user data in their order. As they count
// together, the node is made at the end.
type Collector struct {
	// Root is the node's root directory, "" for /.
	Root string
	// TypeInfo, if not nil, finds out the limits of a type of machine that is newer than
	// the table. It must give up in good time.
	TypeInfo func(instanceType string) (eks.Limits, error)

	found bool
	spec  spec // of all documents so far
}

// Read adds a NodeConfig to those before it: fields that it has count in place of
// theirs. A later one may yet bring what is missing or makes no sense, so values are not
// checked here, but types are. Fields that nobody reads are skipped in n.
func (c *Collector) Read(text []byte, _ *want.Machine, n *want.Node) error {
	var config config
	unknown, err := bounded.Known("NodeConfig", text, &config)
	if err != nil {
		return err
	}
	if got, _, _ := strings.Cut(config.APIVersion, "/"); config.Kind != "NodeConfig" || got != group {
		n.Skipped = append(n.Skipped, unknown...)
		return fmt.Errorf("it is of apiVersion %.100q and kind %.100q, and must be of %s and NodeConfig", config.APIVersion, config.Kind, version)
	}
	if config.APIVersion != version {
		n.Skip("NodeConfig: apiVersion %.100q is read as %s", config.APIVersion, version)
	}
	n.Skipped = append(n.Skipped, unknown...)
	c.found = true
	c.spec.merge(config.Spec)
	return nil
}

// Finish makes the node that the NodeConfigs together ask for. Without any it does
// nothing: whoever has none wants no node of EKS. An error about a drop-in leaves a node of
// all the others.
func (c *Collector) Finish(m *want.Machine, n *want.Node) error {
	if !c.found {
		return nil
	}
	bad := c.readDropIns(m, n)
	dns, err := c.spec.Cluster.join(n)
	if err != nil {
		return errors.Join(bad, fmt.Errorf("NodeConfig: %w", err))
	}
	c.spec.Instance.apply(n) // first: EC2 may have to be asked through a proxy
	c.kubelet(dns, m, n)
	c.flags(dns.Is4(), m, n)
	c.spec.Containerd.apply(n)
	c.featureGates(n)
	n.Files = append(n.Files, eks.Files()...)
	return bad
}

func (c *Collector) featureGates(n *want.Node) {
	for _, gate := range slices.Sorted(maps.Keys(c.spec.FeatureGates)) {
		switch on := c.spec.FeatureGates[gate]; {
		case gate == "InstanceIdNodeName":
			n.EKS.InstanceIDName = on
		case !on:
		case gate == "FastImagePull":
			n.Skip("NodeConfig: featureGates.FastImagePull is not used: it needs a snapshotter that the node does not have")
		default:
			n.Skip("NodeConfig: featureGates.%.100s is unknown", gate)
		}
	}
}
