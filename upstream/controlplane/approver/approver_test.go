package approver

import (
	"context"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
)

// The addresses of a node often come after its request.
func TestApproveLater(t *testing.T) {
	r := goodRequest()
	if err := r.check(t); err != nil { // fills in the request itself
		t.Fatal(err)
	}
	r.csr.Name = "csr-1"
	addresses := r.node.Status.Addresses
	r.node.Status.Addresses = nil
	other := r.csr.DeepCopy()
	other.Name, other.Spec.Username = "csr-2", "system:node:worker-2"

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := fake.NewClientset(r.node, &r.csr, other)
	api := client.CertificatesV1().CertificateSigningRequests()
	changes, err := api.Watch(ctx, meta.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(ctx, client, rules{}) }()

	r.node = r.node.DeepCopy()
	r.node.Status.Addresses = addresses
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, r.node, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	csr := firstDecided(ctx, changes.ResultChan())
	if csr == nil {
		t.Fatal("nothing was approved")
	}
	if c := csr.Status.Conditions[0]; csr.Name != "csr-1" || c.Type != certificates.CertificateApproved || c.Status != core.ConditionTrue {
		t.Errorf("first decision = %s %+v, want csr-1 approved", csr.Name, c)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run() = %v", err)
	}
}

func firstDecided(ctx context.Context, events <-chan watch.Event) *certificates.CertificateSigningRequest {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if csr := e.Object.(*certificates.CertificateSigningRequest); len(csr.Status.Conditions) > 0 {
				return csr
			}
		}
	}
}
