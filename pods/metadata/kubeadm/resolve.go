package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kios/internal/discovery"
	"kios/internal/kubeconfig"
	"kios/pods/metadata/want"
)

// ofCluster are the fields of the cluster's KubeletConfiguration that a node takes, where
// they are set. They are what all nodes of a cluster have in common. The others depend on
// the machine (reserves, cgroups, files, logs), or are this node's own business: kubeadm
// writes all fields, most of them with a zero that would undo the node's defaults.
var ofCluster = []string{
	"clusterDNS", "clusterDomain", // without them, pods find no service by its name
	"rotateCertificates", "serverTLSBootstrap", // what the cluster signs
	"maxPods",                                                                            // as many addresses as the cluster gives to a node
	"featureGates",                                                                       // those of the API server and the nodes go together
	"nodeStatusUpdateFrequency", "nodeStatusReportFrequency", "nodeLeaseDurationSeconds", // what the controllers wait for
	"tlsCipherSuites", "tlsMinVersion", // what the cluster's clients may speak
	"allowedUnsafeSysctls", // what pods may ask of every node
}

// Resolve asks the API server for what j leaves to it: the authority, which it has to
// prove, and the cluster's settings of kubelets. It tries once.
func Resolve(ctx context.Context, j *want.Join) (*want.Cluster, error) {
	c, user, err := find(ctx, j)
	if err != nil {
		return nil, err
	}
	found := &want.Cluster{Server: c.Server, CA: c.CA}
	if !j.ClusterConfig {
		return found, nil
	}
	if j.Kubeconfig == nil { // the address that has just answered, and not that for nodes
		if c.Server = j.Server; !strings.Contains(j.Server, "://") {
			c.Server = "https://" + j.Server
		}
	}
	data, err := c.ConfigMap(ctx, user, "kube-system", "kubelet-config")
	if err != nil {
		return nil, err
	}
	if found.Kubelet, err = settings(data["kubelet"]); err != nil {
		return nil, fmt.Errorf("read the cluster's kubelet-config: %w", err)
	}
	return found, nil
}

// find returns the cluster, and as whom to ask it.
func find(ctx context.Context, j *want.Join) (discovery.Cluster, kubeconfig.User, error) {
	user := kubeconfig.User{Token: j.Token}
	switch {
	case j.Kubeconfig != nil:
		return ready(j)
	case j.CA != nil:
		return discovery.Cluster{Server: j.Server, CA: j.CA}, user, nil
	case len(j.Hashes) > 0:
		c, err := discovery.Pinned(ctx, j.Server, j.Hashes)
		return c, user, err
	}
	token := j.Discovery
	if token == "" {
		token = j.Token
	}
	c, err := discovery.Signed(ctx, j.Server, token)
	return c, user, err
}

// ready is a cluster whose kubeconfig is there.
func ready(j *want.Join) (discovery.Cluster, kubeconfig.User, error) {
	var k kubeconfig.Config
	if err := decode(j.Kubeconfig, &k); err != nil {
		return discovery.Cluster{}, kubeconfig.User{}, fmt.Errorf("read the kubeconfig: %w", err)
	}
	c, user, err := k.Current()
	if err != nil {
		return discovery.Cluster{}, user, fmt.Errorf("read the kubeconfig: %w", err)
	}
	ca := j.CA
	if ca == nil {
		ca, err = c.CA()
	}
	if err == nil {
		err = discovery.CheckCA(ca)
	}
	if err == nil && user.Token == "" && user.CertData == "" {
		err = errors.New("it has neither a token nor a client certificate in it: embed them with kubectl config view --raw --flatten --minify")
	}
	if err != nil {
		return discovery.Cluster{}, user, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return discovery.Cluster{Server: c.Server, CA: ca}, user, nil
}

// settings picks the fields of the cluster.
func settings(text string) (map[string]any, error) {
	var all map[string]any
	if err := decode([]byte(text), &all); err != nil {
		return nil, err
	}
	fields := map[string]any{}
	for name, value := range all {
		if slices.Contains(ofCluster, name) && !isZero(value) {
			fields[name] = value
		}
	}
	return fields, nil
}

// isZero reports whether kubeadm has written a field because it writes all.
func isZero(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == "" || v == "0s"
	case bool:
		return !v
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
