//go:build cluster

package cluster

import (
	"path/filepath"

	"kios/test/lab"
	"kios/test/lab/controlplane"
)

// testApproverPod gives a cluster whose control plane has no approver that of
// docs/approver.yaml, as docs/control-plane.md tells, and asks for a certificate as
// the node does.
func testApproverPod(u *user, n *node) {
	u.env.plane.Stop("kubelet-serving-approver")
	manifest := lab.ReadFile(u.t, filepath.Join(lab.Root(u.t), "docs/approver.yaml"))
	system := u.env.admin(u.t)
	system.namespace = "kube-system"
	system.kubectl("label", "node", n.name, "kios.local/approver=")
	system.apply(manifest)
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
	u.env.plane.Start("kubelet-serving-approver")
}

// requestServing asks for a serving certificate as a node.
func (u *user) requestServing(n *node, name, address string) {
	u.t.Helper()
	manifest, _ := controlplane.Request{
		Name: name, Node: n.name, Signer: "kubelet-serving", Usage: "server auth",
		DNSNames: []string{n.name}, Addresses: []string{address},
	}.Make(u.t)
	u.kubectl("create", "-f", u.file(name+".yaml", manifest),
		"--as=system:node:"+n.name, "--as-group=system:nodes", "--as-group=system:authenticated")
}
