//go:build cluster

package cluster

import (
	"context"
	"testing"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/test/lab"
)

// needOther leaves a test out that needs nodes of this machine's architecture and of the
// tested one.
func needOther(t *testing.T) {
	t.Helper()
	if !lab.Arch(t).Foreign() {
		t.Skip("it needs nodes of a second architecture: make test ARCH=... runs it")
	}
}

// TestTwoArchitectures has a worker of this machine's architecture and one of another, with
// the same archives of images. Pods on each call those on the other by name.
func TestTwoArchitectures(t *testing.T) {
	needOther(t)
	e := newEnv(t, clusterconfig.Config{})
	here, err := builderFor(t, arch.Host()).ClusterWorkers(context.WithoutCancel(t.Context()), e.products.Kubernetes)
	lab.Must(t, err)
	workers := []*node{
		e.boot(setup{name: "worker-1", arch: arch.Host().Name, images: here.Worker}),
		e.boot(setup{name: "worker-2", images: e.products.Worker}),
	}
	e.addOns()
	waitForAddOns(e.admin(t), workers)
	u := e.user(t)
	for i, want := range []arch.Arch{arch.Host(), lab.Arch(t)} {
		if got := u.field("node/"+workers[i].name, "{.status.nodeInfo.architecture}"); got != want.Name {
			t.Errorf("the API server says that %s is %s, want %s", workers[i].name, got, want.Name)
		}
	}
	testServiceByName(u)
	for _, n := range workers {
		n.powerOff(t)
	}
}

// TestClusterOfTwoArchitectures is "kios cluster up" with workers of another architecture
// than the node with the control plane.
func TestClusterOfTwoArchitectures(t *testing.T) {
	needOther(t)
	a, k := lab.Arch(t), newKios(t)
	u := k.user(k.run("up", "--workers", "1", "--arch-workers", a.Name))
	for name, want := range map[string]string{"control-plane": arch.Host().Name, "worker-1": a.Name} {
		if got := u.field("node/"+name, "{.status.nodeInfo.architecture}"); got != want {
			t.Errorf("the API server says that %s is %s, want %s", name, got, want)
		}
	}
	lab.Must(t, allRun(u))
	k.demand(k.run("status"), arch.Host().Name, a.Name)
	k.run("down", "--purge", "--yes")
}
