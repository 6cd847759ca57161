//go:build cluster

package cluster

import (
	"crypto/x509"
	"net"
	"os"
)

// testApproverPod gives a cluster whose control plane has no approver that of
// docs/approver.yaml, as docs/control-plane.md tells, and asks for a certificate as
// the node does.
func testApproverPod(u *user, n *node) {
	u.lab.plane.Stop("kubelet-serving-approver")
	manifest, err := os.ReadFile("../../docs/approver.yaml")
	if err != nil {
		u.t.Fatal(err)
	}
	system := u.lab.admin(u.t)
	system.namespace = "kube-system"
	system.kubectl("label", "node", n.name, "kios.local/approver=")
	system.apply(string(manifest))
	system.waitFor("deployment/kubelet-serving-approver", "condition=Available")

	system.requestServing(n, "approved", n.address)
	system.requestServing(n, "ignored", "10.96.0.1")
	system.waitFor("csr/approved", "jsonpath={.status.certificate}")
	u.eventually("a reason for what is not approved", func() error {
		text, err := system.try("logs", "deployment/kubelet-serving-approver")
		if err == nil {
			err = wants(text, "ignored", "10.96.0.1")
		}
		return err
	})
	if got := system.field("csr/ignored", "{.status.conditions}"); got != "" {
		u.t.Errorf("a request for an address that the node does not have: %s", got)
	}
	system.kubectl("delete", "deployment/kubelet-serving-approver")
	u.lab.plane.Start("kubelet-serving-approver")
}

// requestServing asks for a serving certificate as a node.
func (u *user) requestServing(n *node, name, address string) {
	u.t.Helper()
	manifest, _ := signingRequest(u.t, name, "kubelet-serving", "server auth", n.name, x509.CertificateRequest{
		DNSNames:    []string{n.name},
		IPAddresses: []net.IP{net.ParseIP(address)},
	})
	u.kubectl("create", "-f", u.file(name+".yaml", manifest),
		"--as=system:node:"+n.name, "--as-group=system:nodes", "--as-group=system:authenticated")
}
