//go:build cluster

package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"testing"
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
	request := servingRequest(u.t, n.name, address)
	manifest := fmt.Sprintf(`apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: %s}
spec:
  request: %s
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, server auth]
`, name, base64.StdEncoding.EncodeToString(request))
	u.kubectl("create", "-f", u.file(name+".yaml", manifest),
		"--as=system:node:"+n.name, "--as-group=system:nodes", "--as-group=system:authenticated")
}

func servingRequest(t *testing.T, node, address string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:     pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + node},
		DNSNames:    []string{node},
		IPAddresses: []net.IP{net.ParseIP(address)},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}
