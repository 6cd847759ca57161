package clusterconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tokenLife is how long the token is good after the add-ons are made.
const tokenLife = 24 * time.Hour

// addOn is what the templates in addons are rendered with.
type addOn struct {
	PodCIDR, ServiceCIDR, ClusterDNS   string
	Endpoint, Host                     string // of the API server as nodes reach it
	Port                               int
	Kubernetes, Etcd, CoreDNS, Flannel string // versions
	TokenID, TokenSecret, Expiration   string
	KubeletClient                      string
	LivenessFailures                   int
}

// AddOns returns what a cluster has beside its control plane, as YAML for
// "kubectl apply": that of Access, and the pods of kube-proxy, flannel and CoreDNS.
func (c *Cluster) AddOns() ([]byte, error) {
	pods, err := c.addOns("kube-proxy", "flannel", "coredns")
	if err != nil {
		return nil, err
	}
	access, err := c.Access()
	return slices.Concat(access, []byte("---\n"), pods), err
}

// Access returns those add-ons that take no image: the bootstrap token and who may
// do what with it, the roles of the API server at kubelets and of
// kubelet-serving-approver. The token is good for a day from now.
func (c *Cluster) Access() ([]byte, error) { return c.addOns("bootstrap", "approver") }

// AddOnVersions tells the versions of the add-ons' images, but that of kube-proxy,
// which is the control plane's.
func AddOnVersions() string { return "coredns " + coreDNSVersion + ", flannel " + flannelVersion }

func (c *Cluster) addOns(files ...string) ([]byte, error) {
	id, secret, _ := strings.Cut(c.token, ".")
	data := addOn{
		PodCIDR: c.cfg.PodCIDR, ServiceCIDR: c.cfg.ServiceCIDR, ClusterDNS: c.dns.String(),
		Endpoint: c.cfg.Endpoint, Host: c.host, Port: c.port,
		Kubernetes: c.cfg.Kubernetes, Etcd: etcdVersion, CoreDNS: coreDNSVersion, Flannel: flannelVersion,
		TokenID: id, TokenSecret: secret, Expiration: time.Now().Add(tokenLife).UTC().Format(time.RFC3339),
		KubeletClient: kubeletClient, LivenessFailures: c.livenessFailures(),
	}
	var parts [][]byte
	for _, file := range files {
		text, err := render("addons/"+file+".yaml", data)
		if err != nil {
			return nil, fmt.Errorf("make the add-ons: %w", err)
		}
		parts = append(parts, text)
	}
	return bytes.Join(parts, []byte("---\n")), nil
}
