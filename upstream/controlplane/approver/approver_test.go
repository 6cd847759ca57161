package approver

import (
	"context"
	"net"
	"testing"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

	ctx, client, changes := startApprover(t, r.node, &r.csr, other)
	awaitWatches(ctx, t, client)

	r.node = r.node.DeepCopy()
	r.node.Status.Addresses = addresses
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, r.node, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	csr := firstDecided(ctx, changes)
	if csr == nil {
		t.Fatal("nothing was approved")
	}
	if c := csr.Status.Conditions[0]; csr.Name != "csr-1" || c.Type != certificates.CertificateApproved || c.Status != core.ConditionTrue {
		t.Errorf("first decision = %s %+v, want csr-1 approved", csr.Name, c)
	}
}

// A machine may have the address of one that is gone, once that one's node is.
func TestApproveWhenAnotherNodeGoes(t *testing.T) {
	r := goodRequest()
	r.addOther("gone", "10.77.0.11", 100)
	r.csr.Name = "csr-1"
	if err := r.check(t); err == nil {
		t.Fatal("approved, want it to wait for the other node's end")
	}
	next := goodRequest()
	next.template.Subject.CommonName, next.csr.Spec.Username = "system:node:worker-2", "system:node:worker-2"
	next.template.DNSNames, next.template.IPAddresses = nil, []net.IP{net.ParseIP("10.77.0.12")}
	next.node.Name = "worker-2"
	next.node.Status.Addresses = []core.NodeAddress{{Type: core.NodeInternalIP, Address: "10.77.0.12"}}
	next.csr.Name = "csr-2"
	if err := next.check(t); err != nil {
		t.Fatal(err)
	}

	ctx, client, changes := startApprover(t, r.node, r.others[0], next.node, &r.csr)

	awaitWatches(ctx, t, client)
	// Requests are looked at one by one: that of the second node comes last.
	if _, err := client.CertificatesV1().CertificateSigningRequests().Create(ctx, &next.csr, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if csr := firstDecided(ctx, changes); csr == nil || csr.Name != "csr-2" {
		t.Fatalf("first decision = %+v, want csr-2", csr)
	}
	if err := client.CoreV1().Nodes().Delete(ctx, "gone", meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for {
		csr := firstDecided(ctx, changes)
		if csr == nil {
			t.Fatal("csr-1 was not approved")
		}
		if csr.Name == "csr-1" {
			break
		}
	}
}

// startApprover starts it in a cluster of these objects, whose requests it returns as
// they change. It must end without an error when the test does.
func startApprover(t *testing.T, objects ...runtime.Object) (context.Context, *fake.Clientset, <-chan watch.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	client := fake.NewClientset(objects...)
	changes, err := client.CertificatesV1().CertificateSigningRequests().Watch(ctx, meta.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(ctx, client, rules{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run() = %v", err)
		}
	})
	return ctx, client, changes.ResultChan()
}

// awaitWatches waits until the approver has listed requests and nodes and watches
// them: the client tells it of nothing that changes in between.
func awaitWatches(ctx context.Context, t *testing.T, client *fake.Clientset) {
	t.Helper()
	for {
		requests, nodes := 0, 0
		for _, a := range client.Actions() {
			if a.Matches("watch", "certificatesigningrequests") {
				requests++
			}
			if a.Matches("watch", "nodes") {
				nodes++
			}
		}
		if requests > 1 && nodes > 0 { // the test's own watch is the first
			return
		}
		if ctx.Err() != nil {
			t.Fatal("nobody watches requests and nodes")
		}
		time.Sleep(time.Millisecond)
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
