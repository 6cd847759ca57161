// Package join makes the files below /etc with which a node joins a cluster:
// a kubeconfig or one for TLS bootstrap, the cluster's CA, and what the kubelet
// has to know about the cluster. They are what kubeadm join would write, laid out
// as docs/node.md has it.
//
// It works on the host, before the node boots. What the node does with the files
// is in upstream/kubelet/joining. It leaves out making the token and approving the
// requests that the node makes with it, which is the cluster's work;
// docs/joining.md shows both. It follows
// https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/.
package join

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"kios/internal/discovery"
	"kios/internal/identity"
	"kios/internal/kubeconfig"
	"kios/internal/kubeletargs"

	"sigs.k8s.io/yaml"
)

// What kubeadm gives a cluster that was told nothing else.
const (
	DefaultDNS    = "10.96.0.10"
	DefaultDomain = "cluster.local"
)

// Options say which cluster a node joins, and as what.
type Options struct {
	// Server, CA and Token make a kubeconfig for TLS bootstrap: the API server
	// as HOST, HOST:PORT or https://HOST:PORT, the certificates of the cluster's
	// authority in PEM, and a bootstrap token, ID.SECRET.
	Server string
	CA     []byte
	Token  string
	// Kubeconfig is used in place of the three. One whose user has a bootstrap
	// token is for TLS bootstrap; another is the node's own.
	Kubeconfig []byte

	ClusterDNS    []string // addresses of the DNS service; DefaultDNS if empty
	ClusterDomain string   // DefaultDomain if ""

	Name   string   // of the node; what DHCP says, or the machine's own, if ""
	NodeIP string   // an address, or one of each family with a comma, or ""
	Labels []string // KEY=VALUE
	Taints []string // KEY=VALUE:EFFECT or KEY:EFFECT
}

// File is a file for a node.
type File struct {
	Path string // below /etc
	Mode fs.FileMode
	Data []byte
}

// Files returns what a node of o needs below /etc.
func Files(o Options) ([]File, error) {
	files, err := o.access()
	if err != nil {
		return nil, err
	}
	for _, f := range []func() (File, error){o.kubelet, o.name, o.nodeIP, o.labels} {
		file, err := f()
		if err != nil {
			return nil, err
		}
		if file.Data != nil {
			files = append(files, file)
		}
	}
	return files, nil
}

// Paths below /etc.
const (
	bootstrapPath  = "kubernetes/bootstrap-kubelet.conf"
	kubeconfigPath = "kubernetes/kubelet.conf"
	caPath         = "kubernetes/pki/ca.crt"
	// Read before files of the user's that begin with a higher number.
	configPath = "kubernetes/config.d/10-join.yaml"
)

// access returns how the node gets at the API server.
func (o Options) access() ([]File, error) {
	if o.Kubeconfig != nil {
		if o.Server != "" || o.CA != nil || o.Token != "" {
			return nil, errors.New("a kubeconfig has its own server, CA and credentials: give either the kubeconfig or these, not both")
		}
		return readyKubeconfig(o.Kubeconfig)
	}
	server, err := discovery.ServerURL(o.Server)
	if err != nil {
		return nil, err
	}
	if err := discovery.CheckToken(o.Token); err != nil {
		return nil, err
	}
	if err := discovery.CheckCA(o.CA); err != nil {
		return nil, err
	}
	text, err := kubeconfig.Bootstrap(server, "/etc/"+caPath, o.Token).Marshal()
	if err != nil {
		return nil, err
	}
	return []File{{bootstrapPath, 0o600, text}, {caPath, 0o644, o.CA}}, nil
}

// kubelet returns what the kubelet has to know of the cluster. Pods find no
// service by its name without the first two.
func (o Options) kubelet() (File, error) {
	dns, domain := o.ClusterDNS, o.ClusterDomain
	if len(dns) == 0 {
		dns = []string{DefaultDNS}
	}
	if domain == "" {
		domain = DefaultDomain
	}
	for _, address := range dns {
		if _, err := netip.ParseAddr(address); err != nil {
			return File{}, fmt.Errorf("the address %q of the cluster's DNS service is not an IP address", address)
		}
	}
	taints, err := parseTaints(o.Taints)
	if err != nil {
		return File{}, err
	}
	text, err := yaml.Marshal(kubeletConfiguration{
		APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration",
		ClusterDNS: dns, ClusterDomain: domain,
		// The kubelet asks the cluster to sign the certificate of its port.
		ServerTLSBootstrap: true,
		RegisterWithTaints: taints,
	})
	return File{configPath, 0o644, text}, err
}

type kubeletConfiguration struct {
	APIVersion         string   `json:"apiVersion"`
	Kind               string   `json:"kind"`
	ClusterDNS         []string `json:"clusterDNS"`
	ClusterDomain      string   `json:"clusterDomain"`
	ServerTLSBootstrap bool     `json:"serverTLSBootstrap"`
	RegisterWithTaints []taint  `json:"registerWithTaints,omitempty"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

func parseTaints(texts []string) ([]taint, error) {
	var taints []taint
	for _, text := range texts {
		pair, effect, _ := strings.Cut(text, ":")
		key, value, _ := strings.Cut(pair, "=")
		if !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect) {
			return nil, fmt.Errorf("taint %q: write KEY=VALUE:EFFECT, where EFFECT is NoSchedule, PreferNoSchedule or NoExecute", text)
		}
		if err := kubeletargs.CheckTaint(key, value); err != nil {
			return nil, fmt.Errorf("taint %q: %w", text, err)
		}
		taints = append(taints, taint{key, value, effect})
	}
	return taints, nil
}

func (o Options) name() (File, error) {
	if o.Name == "" {
		return File{}, nil
	}
	name, err := identity.ParseHostname(o.Name)
	return File{"hostname", 0o644, []byte(name + "\n")}, err
}

func (o Options) nodeIP() (File, error) {
	if o.NodeIP == "" {
		return File{}, nil
	}
	return File{"kubernetes/node-ip", 0o644, []byte(o.NodeIP + "\n")}, kubeletargs.CheckNodeIP(o.NodeIP)
}

func (o Options) labels() (File, error) {
	var text strings.Builder
	for _, label := range o.Labels {
		key, value, found := strings.Cut(label, "=")
		if !found {
			return File{}, fmt.Errorf("label %q: write KEY=VALUE", label)
		}
		if err := kubeletargs.CheckLabel(key, value); err != nil {
			return File{}, fmt.Errorf("label %q: %w", label, err)
		}
		fmt.Fprintf(&text, "%s: %s\n", key, value)
	}
	if text.Len() == 0 {
		return File{}, nil
	}
	return File{"kubernetes/node-labels", 0o644, []byte(text.String())}, nil
}
