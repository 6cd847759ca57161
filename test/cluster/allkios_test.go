//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"kios/host/cluster"
	"kios/host/qemu"
	"kios/test/lab"
)

var exported = regexp.MustCompile(`export KUBECONFIG=(\S+)`)

// TestAllKiOS is "kios cluster" as its users have it: three machines, of which
// one has the control plane.
func TestAllKiOS(t *testing.T) {
	lab.Long(t)
	k := newKios(t)
	u := k.user(k.up())
	checkComplete(u)
	k.demand(k.run("status"), "control-plane", "worker-1", "worker-2", "ready")
	k.demand(k.run("logs", "worker-1"), "Linux version", "kubelet")
	u.kubectl("create", "configmap", "kept", "--from-literal=colour=blue")

	c, err := cluster.Open(k.name)
	lab.Must(t, err)
	bootID := u.field("node/control-plane", "{.status.nodeInfo.bootID}")
	reset(t, c, "control-plane")
	u.within(3*u.patience, "a new boot of the control plane", func() error {
		got, err := u.try("get", "node/control-plane", "-o", "jsonpath={.status.nodeInfo.bootID}")
		if err == nil && got == bootID {
			err = fmt.Errorf("the boot is still %s", got)
		}
		return err
	})
	checkComplete(u)

	k.run("down")
	if running := c.Running(); len(running) > 0 {
		t.Errorf("after down, %v run", running)
	}
	k.demand(k.run("status"), "stopped")
	k.up()
	checkComplete(u)
	if got := u.field("configmap/kept", "{.data.colour}"); got != "blue" {
		t.Errorf("the ConfigMap of before holds %q, want blue", got)
	}
	k.run("down", "--purge", "--yes")
	if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
		t.Errorf("after down --purge there is %s: %v", c.Dir, err)
	}
}

// checkComplete demands three nodes that are ready, and pods that all run.
func checkComplete(u *user) {
	u.t.Helper()
	for _, name := range []string{"control-plane", "worker-1", "worker-2"} {
		u.waitFor("node/"+name, "condition=Ready")
	}
	u.within(2*u.patience, "pods that all run", func() error { return allRun(u) })
}

// allRun returns an error that names the pods that neither run nor have ended
// well.
func allRun(u *user) error {
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
			Status   struct {
				Phase             string
				ContainerStatuses []struct{ Ready bool }
			}
		}
	}
	if err := u.get(&list, "pods", "--all-namespaces"); err != nil {
		return err
	}
	var bad []string
	for _, p := range list.Items {
		ready := p.Status.Phase == "Running"
		for _, c := range p.Status.ContainerStatuses {
			ready = ready && c.Ready
		}
		if !ready && p.Status.Phase != "Succeeded" { // the pod "disk" ends
			bad = append(bad, p.Metadata.Namespace+"/"+p.Metadata.Name+" "+p.Status.Phase)
		}
	}
	if len(bad) > 0 || len(list.Items) < 10 {
		return fmt.Errorf("of %d pods these do not run: %s", len(list.Items), strings.Join(bad, ", "))
	}
	return nil
}

// reset presses a machine's reset button.
func reset(t *testing.T, c *cluster.Cluster, node string) {
	t.Helper()
	m, err := c.Machine(node)
	lab.Must(t, err)
	defer m.Close()
	if _, err := m.Execute(t.Context(), "system_reset", nil); err != nil {
		t.Fatal(err)
	}
}

// kios runs "kios cluster" for one cluster.
type kios struct {
	t    *testing.T
	name string
}

func (k *kios) run(command string, args ...string) string {
	k.t.Helper()
	start := time.Now()
	text, err := k.try(k.t.Context(), command, args...)
	lab.Must(k.t, err)
	k.t.Logf("kios cluster %s took %s", command, time.Since(start).Round(time.Second))
	return text
}

// newKios is for a cluster that is gone when the test ends, unless that fails: consoles and
// disks stay then.
func newKios(t *testing.T) *kios {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", lab.KeptDir(t))
	k := &kios{t: t, name: fmt.Sprintf("test-%d", os.Getpid())}
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = k.try(context.Background(), "down")
		}
	})
	return k
}

// user is somebody who does what "kios cluster up" has said.
func (k *kios) user(said string) *user {
	k.t.Helper()
	found := exported.FindStringSubmatch(said)
	if found == nil {
		k.t.Fatalf("kios cluster up does not say where the kubeconfig is:\n%s", said)
	}
	accel, err := qemu.Probe(k.t.Context(), lab.Arch(k.t), lab.Out(k.t, "vmlinuz"))
	lab.Must(k.t, err)
	return &user{
		t: k.t, namespace: "default", kubeconfig: found[1], patience: accel.Scale(patience),
		bin: products(k.t, newest(k.t)).Bin["kubectl"],
	}
}

// up has all nodes be of the tested architecture.
func (k *kios) up() string {
	k.t.Helper()
	return k.run("up", strings.Fields(lab.Arch(k.t).Flag())...)
}

func (k *kios) try(ctx context.Context, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Minute)
	defer cancel()
	text, err := exec.CommandContext(ctx, lab.Kios(k.t), append([]string{"cluster", command, "--name", k.name}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kios cluster %s: %w:\n%s", command, err, text)
	}
	return string(text), err
}

func (k *kios) demand(text string, parts ...string) {
	k.t.Helper()
	if err := wants(text, parts...); err != nil {
		k.t.Error(err)
	}
}
