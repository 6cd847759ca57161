package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/console"
	"kios/host/qemu"
	"kios/test/lab"
)

// mixed is a new cluster whose control plane is like the host, with workers of each
// architecture in turn.
func mixed(t *testing.T) *Cluster {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := withWorkers(t, State{Firmware: "direct", Memory: 1 << 30, ControlPlaneMemory: 1 << 30}, 0)
	for i, a := range arch.All {
		lab.Must(t, c.AddWorkers(i+1, a))
	}
	return c
}

// built writes what builds of all architectures would have made, each file with the name
// of its own.
func built(t *testing.T) Products {
	t.Helper()
	p := Products{Nodes: map[string]NodeProducts{}}
	for _, a := range arch.All {
		file := func(name string) string {
			path := filepath.Join(t.TempDir(), name)
			lab.WriteFile(t, path, a.Name+"\n")
			return path
		}
		p.Nodes[a.Name] = NodeProducts{Kernel: file("vmlinuz"), Initrd: file("initrd"), Cmdline: file("cmdline"), Worker: []string{a.Name}}
	}
	return p
}

// A node keeps its architecture, whatever is added later, and one of a cluster that was
// made before there were several has the host's.
func TestArchitecturesStay(t *testing.T) {
	c := mixed(t)
	lab.Must(t, c.makeDirs())
	lab.Must(t, c.save())
	again, err := Open("a")
	lab.Must(t, err)
	lab.Must(t, again.AddWorkers(len(arch.All)+1, arch.All[0]))
	want := []string{arch.Host().Name}
	for _, a := range append(arch.All, arch.All[0]) {
		want = append(want, a.Name)
	}
	var got []string
	for _, n := range again.Nodes {
		got = append(got, n.Arch)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("architectures (-want +got):\n%s", diff)
	}
	if all := again.Archs(); len(all) != len(arch.All) || all[0].Name != arch.Host().Name {
		t.Errorf("Archs = %d, the first %s", len(all), all[0].Name)
	}
	for text, want := range map[string]string{
		`{"nodes": [{"name": "control-plane", "address": "10.77.0.10"}]}`:                    arch.Host().Name,
		`{"nodes": [{"name": "control-plane", "address": "10.77.0.10", "arch": "riscv64"}]}`: "",
	} {
		lab.WriteFile(t, c.path(stateFile), text)
		old, err := Open("a")
		if (err == nil) != (want != "") || err == nil && old.Nodes[0].Arch != want {
			t.Errorf("Open of %s = %+v, %v, want %s", text, old, err, want)
		}
	}
}

// Each machine boots what was built for it.
func TestMachinesOfSeveralArchitectures(t *testing.T) {
	c := mixed(t)
	p := built(t)
	lab.Must(t, c.copyBoot(p))
	keys, err := c.keys(qemu.TCG)
	lab.Must(t, err)
	for _, n := range c.Nodes {
		m, err := c.machine(n, qemu.TCG)
		lab.Must(t, err)
		kernel, err := os.ReadFile(m.Kernel)
		if err != nil || m.Arch.Name != n.Arch || string(kernel) != n.Arch+"\n" || m.Append != n.Arch+" loglevel=7" {
			t.Errorf("%s, which is %s, boots %q with %q on a machine of %s: %v", n.Name, n.Arch, kernel, m.Append, m.Arch.Name, err)
		}
		_, images, err := c.nodeFiles(n, keys, p.Nodes[n.Arch])
		if err != nil || !n.controlPlane() && !cmp.Equal(images, []string{n.Arch}) {
			t.Errorf("%s, which is %s, gets the images %q, %v", n.Name, n.Arch, images, err)
		}
	}
}

// What is emulated comes one after the other, and all else at once.
func TestOrder(t *testing.T) {
	c := mixed(t)
	text := func(nodes []Node) (names string) {
		for _, n := range nodes {
			names += " " + n.Name
		}
		return names
	}
	native := fmt.Sprintf(" worker-%d", 1+indexOf(arch.Host()))
	var workers string
	for i := range arch.All {
		workers += fmt.Sprintf(" worker-%d", i+1)
	}
	for _, tt := range []struct {
		host, foreign qemu.Accel
		now           string
	}{
		{qemu.TCG, qemu.TCG, " control-plane"},
		{qemu.KVM, qemu.TCG, " control-plane" + native},
		{qemu.KVM, qemu.KVM, " control-plane" + workers},
	} {
		s := start{Cluster: c, accels: Accels{}}
		for _, a := range arch.All {
			s.accels[a.Name] = tt.foreign
		}
		s.accels[arch.Host().Name] = tt.host
		now, later := s.order()
		if text(now) != tt.now || len(now)+len(later) != len(c.Nodes) {
			t.Errorf("host %s, others %s: at once%s, later%s; want at once%s", tt.host, tt.foreign, text(now), text(later), tt.now)
		}
		if got, want := s.accels.Emulated(), tt.foreign == qemu.TCG; got != want {
			t.Errorf("host %s, others %s: Emulated = %v", tt.host, tt.foreign, got)
		}
	}
}

func indexOf(a arch.Arch) int {
	for i, other := range arch.All {
		if other.Name == a.Name {
			return i
		}
	}
	return -1
}

// notes keeps what an observer is told.
type notes []string

func (n *notes) Console(string, console.Event)   {}
func (n *notes) State(string, string)            {}
func (n *notes) Note(format string, args ...any) { *n = append(*n, fmt.Sprintf(format, args...)) }

// Processors of another architecture are always emulated, and the reason says so.
func TestProbeOfSeveralArchitectures(t *testing.T) {
	t.Setenv("KIOS_ACCEL", "kvm")
	c := mixed(t)
	accels, err := c.Probe(context.Background(), built(t))
	lab.Must(t, err)
	var said notes
	s := start{Cluster: c, accels: accels, observer: &said}
	s.noteEmulated(t.Context())
	for _, a := range arch.All {
		want := map[bool]qemu.Accel{true: qemu.TCG, false: qemu.KVM}[a.Foreign()]
		if accels[a.Name] != want || c.BestAccels()[a.Name] != want {
			t.Errorf("%s: %s, at best %s, want %s", a.Name, accels[a.Name], c.BestAccels()[a.Name], want)
		}
		if told := strings.Contains(strings.Join(said, "\n"), "QEMU emulates the "+a.Name+" machines"); told != a.Foreign() {
			t.Errorf("%s: notes %q", a.Name, said)
		}
	}
}
