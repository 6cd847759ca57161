//go:build cluster

package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"kios/host/clusterconfig"
	"kios/internal/discovery"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// TestKubeadmDiscovery has the pod metadata ask a cluster of kubeadm for what a node needs,
// with no node.
func TestKubeadmDiscovery(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	e := bareEnv(t, newest(t))
	k := newKubeadm(e)
	u := e.admin(t)
	u.namespace = "kube-system"
	k.startControlPlane(u)
	token := strings.TrimSpace(k.run("token", "create", "--kubeconfig=/etc/kubernetes/admin.conf"))
	e.discover(u, token)
	var n want.Node
	if err := kubeadm.Read([]byte(k.run("config", "print", "join-defaults")), nil, &n); err != nil || n.Join == nil || len(n.Skipped) > 0 {
		t.Errorf("kubeadm's own example: %+v, %v", n, err)
	}
}

// whoMayAsk lets those without a user look at cluster-info.
const whoMayAsk = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: true}
`

// likeKubeadm is what kubeadm init leaves in a cluster for those that join, but for what
// clusters of kiOS have, too.
const likeKubeadm = `apiVersion: v1
kind: ConfigMap
metadata: {name: cluster-info, namespace: kube-public}
data:
  kubeconfig: |
    apiVersion: v1
    kind: Config
    clusters: [{name: "", cluster: {server: "https://%[1]s", certificate-authority-data: %[2]s}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubelet-config, namespace: kube-system}
data: {kubelet: "{clusterDNS: [10.96.0.10], clusterDomain: cluster.local, shutdownGracePeriod: 0s}"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: look, namespace: kube-public}
rules: [{apiGroups: [""], resources: [configmaps], resourceNames: [cluster-info], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: look, namespace: kube-public}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: look}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:anonymous"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: look, namespace: kube-system}
rules: [{apiGroups: [""], resources: [configmaps], resourceNames: [kubelet-config], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: look, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: look}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers:kubeadm:default-node-token"}]
`

// TestDiscovery is the same in seconds, in a cluster of ours that has what kubeadm's have.
func TestDiscovery(t *testing.T) {
	lab.Long(t)
	t.Parallel()
	auth := t.TempDir() + "/authentication.yaml"
	lab.WriteFile(t, auth, whoMayAsk)
	e := bareEnv(t, newest(t))
	e.startControlPlane(clusterconfig.Config{}, "--authentication-config="+auth)
	u := e.admin(t)
	u.apply(fmt.Sprintf(likeKubeadm, endpoint, base64.StdEncoding.EncodeToString([]byte(e.ca))))
	u.namespace = "kube-system"
	token := e.cluster.Token()
	id, _, _ := strings.Cut(token, ".")
	u.kubectl("patch", "secret", "bootstrap-token-"+id, "--patch", `{"stringData":{"usage-bootstrap-signing":"true"}}`)
	netns.Start(t, e.name, nil, e.products.Bin["kubernetes"], "kube-controller-manager", "--kubeconfig="+e.kubeconfig(),
		"--controllers=bootstrapsigner", "--leader-elect=false", "--secure-port=10357")
	e.discover(u, token)
}

// discover looks for the cluster in each way. The controllers bootstrapsigner and
// tokencleaner of Kubernetes are the other side.
func (e *env) discover(u *user, token string) {
	t := u.t
	t.Helper()
	server, hash := e.forward(endpoint), hashOf(t, e.ca)
	admin := strings.Replace(lab.ReadFile(t, e.kubeconfig()), endpoint, server, 1)
	for name, join := range map[string]want.Join{
		"by a hash":       {Server: server, Hashes: []string{hash}, Token: token, ClusterConfig: true},
		"by the token":    {Server: server, Token: token, ClusterConfig: true},
		"with the CA":     {Server: "https://" + server, CA: []byte(e.ca), Token: token, ClusterConfig: true},
		"by a kubeconfig": {Kubeconfig: []byte(admin), ClusterConfig: true},
	} {
		u.eventually("the cluster "+name, func() error { // the signature takes the controller a moment
			c, err := kubeadm.Resolve(t.Context(), &join)
			if err == nil && (strings.TrimSpace(string(c.CA)) != strings.TrimSpace(e.ca) || c.Kubelet["clusterDomain"] != "cluster.local" || c.Kubelet["shutdownGracePeriod"] != nil) {
				err = fmt.Errorf("Resolve = %+v", c)
			}
			return err
		})
	}
	c, err := kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: token})
	if err != nil || c.Server != "https://"+endpoint {
		t.Errorf("the cluster gives its nodes the address %+v, %v", c, err)
	}
	id, _, _ := strings.Cut(token, ".")
	_, err = kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: id + ".0123456789abcdef"})
	if err == nil || !strings.Contains(err.Error(), "not by this token's secret") {
		t.Errorf("with another secret: %v", err)
	}
	u.kubectl("delete", "secret", "bootstrap-token-"+id)
	u.eventually("the end of the signature", func() error {
		_, err := kubeadm.Resolve(t.Context(), &want.Join{Server: server, Token: token})
		if err == nil || !strings.Contains(err.Error(), "or it has expired") {
			return fmt.Errorf("with a token that was deleted: %v", err)
		}
		return nil
	})
	u.eventually("the end of the token", func() error { // which the API server remembers for some seconds
		_, err := kubeadm.Resolve(t.Context(), &want.Join{Server: server, Hashes: []string{hash}, Token: token, ClusterConfig: true})
		if !errors.Is(err, discovery.ErrRefused) {
			return fmt.Errorf("with a token that was deleted, and a hash: %v", err)
		}
		return nil
	})
}

// hashOf is as kubeadm prints it.
func hashOf(t *testing.T, ca string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(ca))
	cert, err := x509.ParseCertificate(block.Bytes)
	lab.Must(t, err)
	return fmt.Sprintf("sha256:%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo))
}

// forward passes connections on to an address in the network of the cluster, and returns
// the address where it does.
func (e *env) forward(address string) string {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(e.t, err)
	e.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go e.pass(from, address)
		}
	}()
	return listener.Addr().String()
}

func (e *env) pass(from net.Conn, address string) {
	defer from.Close()
	to, err := netns.Dial(context.Background(), e.name, "tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
	io.Copy(from, to)
}
