package cluster

import (
	"bytes"
	"fmt"
	"io/fs"
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
}

// AddOns returns what a cluster has beside its control plane, as YAML for
// "kubectl apply": the bootstrap token and who may do what with it, the roles of
// the API server at kubelets and of kubelet-serving-approver, and the pods of
// kube-proxy, flannel and CoreDNS. The token in it is good for a day from now.
func (c *Cluster) AddOns() ([]byte, error) {
	id, secret, _ := strings.Cut(c.token, ".")
	data := addOn{
		PodCIDR: c.cfg.PodCIDR, ServiceCIDR: c.cfg.ServiceCIDR, ClusterDNS: c.dns.String(),
		Endpoint: c.cfg.Endpoint, Host: c.host, Port: c.port,
		Kubernetes: c.cfg.Kubernetes, Etcd: etcdVersion, CoreDNS: coreDNSVersion, Flannel: flannelVersion,
		TokenID: id, TokenSecret: secret, Expiration: time.Now().Add(tokenLife).UTC().Format(time.RFC3339),
		KubeletClient: kubeletClient,
	}
	names, err := fs.Glob(templates, "addons/*.yaml")
	if err != nil {
		return nil, err
	}
	var parts [][]byte
	for _, name := range names {
		text, err := render(name, data)
		if err != nil {
			return nil, fmt.Errorf("make the add-ons: %w", err)
		}
		parts = append(parts, text)
	}
	return bytes.Join(parts, []byte("---\n")), nil
}
