package firstkios

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

// APIVersion is how the format is recognised. The first kiOS did not look at kind.
const APIVersion = "kios.redcoat.dev/v1alpha1"

// data are the first kiOS's user data.
type data struct {
	APIVersion string         `json:"apiVersion"`
	Kind       any            `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	APIServer  apiServer      `json:"apiServer"`
	Node       node           `json:"node"`
}

type apiServer struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	CA       string `json:"b64ClusterCA"`
}

type node struct {
	Taints  []any             `json:"taints"`
	Labels  map[string]string `json:"labels"`
	MaxPods struct {
		Set    *bool `json:"set"`    // nil for true
		Offset *int  `json:"offset"` // nil for 3
	} `json:"maxPods"`
	Kubelet string `json:"kubeletConfiguration"` // YAML
	Runtime struct {
		ImageVolumes string `json:"imageVolumes"`
	} `json:"containerRuntime"`
}

// Read makes a node of EKS of the first kiOS's user data.
func Read(text []byte, m *want.Machine, n *want.Node) error {
	var d data
	unknown, err := bounded.Known("user data", text, &d)
	if err != nil {
		return err
	}
	if d.APIVersion != APIVersion {
		return fmt.Errorf("the apiVersion is %.100q, and must be %s", d.APIVersion, APIVersion)
	}
	fields, err := d.Node.fields()
	if err != nil {
		return err
	}
	if err := d.APIServer.join(n); err != nil {
		return fmt.Errorf("apiServer: %w", err)
	}
	n.Skipped = append(n.Skipped, unknown...)
	n.Kubelet = want.Overlay(n.Kubelet, d.Node.kubelet(fields, m))
	n.Flags = append(n.Flags, "--cloud-provider=external")
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	maps.Copy(n.Labels, d.Node.Labels)
	n.Files = append(n.Files, eks.Files()...)
	if d.Node.Runtime.ImageVolumes != "" {
		n.Skip("user data: node.containerRuntime.imageVolumes is not used: it is an option of CRI-O")
	}
	return nil
}

func (a *apiServer) join(n *want.Node) error {
	if a.Name == "" || a.Endpoint == "" || a.CA == "" {
		return errors.New("it must have name, endpoint and b64ClusterCA: aws eks describe-cluster prints them")
	}
	return eks.Join(n, a.Name, a.Endpoint, a.CA)
}

// fields reads the KubeletConfiguration that is a string of the document.
func (o *node) fields() (map[string]any, error) {
	var fields map[string]any
	if err := bounded.YAML([]byte(o.Kubelet), &fields); err != nil {
		return nil, fmt.Errorf("node.kubeletConfiguration: %w", err)
	}
	delete(fields, "apiVersion") // whoever writes the file knows them
	delete(fields, "kind")
	return fields, nil
}

// kubelet adds to the user's fields what the first kiOS did. It left a reserve to the
// kubelet, so the node's own counts.
func (o *node) kubelet(user map[string]any, m *want.Machine) map[string]any {
	fields := map[string]any{"clusterDNS": []any{clusterDNS(m)}}
	if m.ProviderID != "" {
		fields["providerID"] = m.ProviderID
	}
	maps.Copy(fields, user)
	fields["serverTLSBootstrap"] = true  // EKS signs these certificates, and no others
	fields["rotateCertificates"] = false // the node has a token, which package aws renews
	if o.Taints != nil {
		fields["registerWithTaints"] = o.Taints
	}
	if pods, known := o.pods(m); known {
		fields["maxPods"] = eks.OnNode(pods)
	}
	return fields
}

// pods are as many as the machine has addresses for, and by default three more: for pods
// that need none of these. Of a type that is not in the table nothing is known.
func (o *node) pods(m *want.Machine) (int, bool) {
	limits, known := eks.OfType(m.Type)
	if set := o.MaxPods.Set; !known || set != nil && !*set {
		return 0, false
	}
	offset := 3
	if o.MaxPods.Offset != nil {
		offset = *o.MaxPods.Offset
	}
	return limits.Pods() - 2 + offset, true
}

// clusterDNS is a guess, as the format has no range of services. EKS takes the one range
// for clusters in networks with addresses of the other.
func clusterDNS(m *want.Machine) string {
	i := slices.IndexFunc(m.Addresses, func(a netip.Addr) bool { return a.Unmap().Is4() })
	if i >= 0 && m.Addresses[i].Unmap().As4()[0] == 10 {
		return "172.20.0.10"
	}
	return "10.100.0.10"
}
