package kubeadm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// maxDocuments is more than kubeadm has kinds of them.
const maxDocuments = 16

const (
	group   = "kubeadm.k8s.io/"
	kubelet = "kubelet.config.k8s.io/v1beta1"
)

// head is what all documents begin with.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Read reads the file that kubeadm join is given with --config: a JoinConfiguration, and
// what else is in the file, into n. Files that it refers to are among those of n.
func Read(text []byte, _ *want.Machine, n *want.Node) error {
	r := reader{node: n}
	for _, doc := range split(text) {
		if err := r.document(doc); err != nil {
			return err
		}
	}
	if r.join == nil {
		return errors.New("there is no JoinConfiguration of kubeadm.k8s.io/v1beta4 or v1beta3 in the configuration of kubeadm")
	}
	access, err := r.join.access(n)
	if err != nil {
		return err
	}
	n.Join = access
	r.apply()
	return nil
}

// reader gathers what the documents of a file have, so that a file with a mistake has no
// effect at all.
type reader struct {
	node    *want.Node
	count   int
	join    *joinConfiguration
	kubelet map[string]any
	skipped []string
}

func (r *reader) document(text []byte) error {
	if r.count++; r.count > maxDocuments {
		return fmt.Errorf("the configuration of kubeadm has more than %d documents", maxDocuments)
	}
	var h head
	if err := decode(text, &h); err != nil {
		return fmt.Errorf("read the configuration of kubeadm: %w", err)
	}
	switch {
	case h == head{}: // comments, or nothing
		return nil
	case strings.HasPrefix(h.APIVersion, group) && h.Kind == "JoinConfiguration":
		return r.readJoin(text, strings.TrimPrefix(h.APIVersion, group))
	case h.APIVersion == kubelet && h.Kind == "KubeletConfiguration":
		return r.readKubelet(text)
	}
	r.skipped = append(r.skipped, fmt.Sprintf("%.100s of %.100s in the configuration of kubeadm is not used: a worker needs none", h.Kind, h.APIVersion))
	return nil
}

func (r *reader) readJoin(text []byte, version string) error {
	if r.join != nil {
		return errors.New("there are two JoinConfigurations in the configuration of kubeadm: a node joins one cluster")
	}
	r.join = &joinConfiguration{}
	if version != "v1beta3" && version != "v1beta4" {
		return fmt.Errorf("a JoinConfiguration of kubeadm.k8s.io/%.100s is not read: write it in v1beta4 or v1beta3", version)
	}
	unknown, err := bounded.Known("JoinConfiguration", text, r.join)
	if err != nil {
		return fmt.Errorf("read the JoinConfiguration: %w", err)
	}
	r.skipped = append(r.skipped, unknown...)
	if r.join.ControlPlane != nil {
		return errors.New("the JoinConfiguration asks for a control plane (controlPlane), and a kiOS node is a worker: use kubeadm on another system for control planes")
	}
	for _, t := range r.join.Registration.Taints {
		if err := t.check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) readKubelet(text []byte) error {
	var fields map[string]any
	if err := decode(text, &fields); err != nil {
		return fmt.Errorf("read the KubeletConfiguration: %w", err)
	}
	r.skipped = append(r.skipped, bounded.Remarks("KubeletConfiguration", text)...)
	delete(fields, "apiVersion")
	delete(fields, "kind")
	r.kubelet = want.Overlay(r.kubelet, fields)
	return nil
}

// apply fills in the node.
func (r *reader) apply() {
	n := r.node
	n.Skipped = append(n.Skipped, slices.Concat(r.skipped, r.join.unused())...)
	if r.kubelet != nil {
		n.Kubelet = want.Overlay(n.Kubelet, r.kubelet)
	}
	r.join.Registration.apply(n)
}
