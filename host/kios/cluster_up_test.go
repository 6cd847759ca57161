package main

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/cluster"
	"kios/host/clusterconfig"
	"kios/host/progress"
	"kios/test/lab"
)

// given makes flags that were given.
func given(flags ...string) func(string) bool {
	return func(flag string) bool { return slices.Contains(flags, flag) }
}

// existing writes the state of a cluster that "kios cluster up" has made with the
// defaults.
func existing(t *testing.T) *cluster.Cluster {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c, err := upDefaults().cluster(nil)
	lab.Must(t, err)
	text, err := json.Marshal(c.State)
	lab.Must(t, err)
	lab.WriteFile(t, c.Dir+"/cluster.json", string(text))
	return c
}

func TestUpOptionsOfAnExistingCluster(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*upOptions)
		state  func(*cluster.State) // what becomes of the state
		want   string               // part of the error; "" for none
	}{
		{"nothing given", func(*upOptions) {}, nil, ""},
		{"other defaults, not given", func(o *upOptions) {
			o.memory, o.controlPlaneMemory, o.cpus, o.port, o.workers, o.kubernetes, o.firmware = "abc", "1M", 3, 7000, 5, "v1.0.0", "bios"
		}, nil, ""},
		{"memory", func(o *upOptions) { o.memory, o.given = "2G", given("memory") }, func(s *cluster.State) { s.Memory = 2 << 30 }, ""},
		{"control plane", func(o *upOptions) { o.controlPlaneMemory, o.given = "3G", given("control-plane-memory") }, func(s *cluster.State) { s.ControlPlaneMemory = 3 << 30 }, ""},
		{"processors", func(o *upOptions) { o.cpus, o.given = 4, given("cpus") }, func(s *cluster.State) { s.CPUs = 4 }, ""},
		{"port", func(o *upOptions) { o.port, o.given = 16500, given("port") }, func(s *cluster.State) { s.Port = 16500 }, ""},
		{"what it has", func(o *upOptions) { o.given = given("kubernetes", "firmware", "memory", "workers") }, nil, ""},
		{"memory, too small", func(o *upOptions) { o.memory, o.given = "64M", given("memory") }, nil, "--memory 64M is too small"},
		{"another Kubernetes", func(o *upOptions) { o.kubernetes, o.given = "v1.0.0", given("kubernetes") }, nil, "was created with v1.37.2, which cannot be changed"},
		{"another firmware", func(o *upOptions) { o.firmware, o.given = "uefi", given("firmware") }, nil, "--firmware uefi: cluster a was created with direct"},
		{"another architecture", func(o *upOptions) { o.arch.Arch, o.given = arch.Arch{Name: "riscv64"}, given("arch") }, nil, "--arch riscv64: cluster a was created with " + arch.Host().Name},
		{"its architecture", func(o *upOptions) { o.arch.Arch, o.given = arch.Host(), given("arch") }, nil, ""},
		{"workers that are not added", func(o *upOptions) {
			o.archWorkers.Arch, o.given = arch.Arch{Name: "riscv64"}, given("workers", "arch-workers")
		}, nil, "--arch-workers riscv64: no worker is added, since cluster a has 2 already: ask for more with --workers"},
		{"fewer workers", func(o *upOptions) { o.workers, o.given = 1, given("workers") }, nil, "cluster a has 2 workers, and their number cannot become smaller"},
		{"fewer workers of another architecture", func(o *upOptions) {
			o.workers, o.archWorkers.Arch, o.given = 1, arch.Arch{Name: "riscv64"}, given("workers", "arch-workers")
		}, nil, "cluster a has 2 workers, and their number cannot become smaller"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := existing(t).State
			if tt.state != nil {
				tt.state(&want)
			}
			o := upDefaults()
			tt.change(&o)
			c, err := o.cluster(nil)
			switch {
			case tt.want != "":
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("cluster() = %v, want one error with %q", err, tt.want)
				}
			case err != nil:
				t.Errorf("cluster() = %v", err)
			default:
				if diff := cmp.Diff(stateText(t, want), stateText(t, c.State)); diff != "" {
					t.Errorf("state (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func stateText(t *testing.T, s cluster.State) string {
	t.Helper()
	text, err := json.MarshalIndent(s, "", "  ")
	lab.Must(t, err)
	return string(text)
}

func TestUpAddsWorkers(t *testing.T) {
	before := existing(t)
	o := upDefaults()
	o.workers, o.given = 4, given("workers")
	c, err := o.cluster(nil)
	lab.Must(t, err)
	if len(c.Nodes) != 5 || c.Nodes[4].Name != "worker-4" || !slices.Equal(c.Nodes[:3], before.Nodes) {
		t.Errorf("the nodes are %v, want those that there were, %v, and two more workers", c.Nodes, before.Nodes)
	}
}

// Workers may be of another architecture than the nodes that there are, and then stay so.
func TestUpAddsWorkersOfAnother(t *testing.T) {
	for _, a := range arch.All {
		existing(t)
		o := upDefaults()
		o.workers, o.archWorkers.Arch, o.given = 3, a, given("workers", "arch-workers")
		for range 2 { // the same command again is fine
			c, err := o.cluster(nil)
			lab.Must(t, err)
			var got []string
			for _, n := range c.Nodes {
				got = append(got, n.Arch)
			}
			host := arch.Host().Name
			if want := []string{host, host, host, a.Name}; !slices.Equal(got, want) {
				t.Errorf("architectures %q, want %q", got, want)
			}
			text, err := json.Marshal(c.State)
			lab.Must(t, err)
			lab.WriteFile(t, c.Dir+"/cluster.json", string(text))
		}
	}
}

// A new cluster is of one architecture, unless its workers are of another one.
func TestUpArchitectures(t *testing.T) {
	for _, a := range arch.All {
		for _, workers := range arch.All {
			t.Setenv("XDG_STATE_HOME", t.TempDir())
			o := upDefaults()
			o.workers, o.arch.Arch = 1, a
			c, err := o.cluster(nil)
			if err != nil || c.Nodes[0].Arch != a.Name || c.Nodes[1].Arch != a.Name {
				t.Errorf("--arch %s: %+v, %v", a.Name, c, err)
			}
			o.archWorkers.Arch = workers
			c, err = o.cluster(nil)
			if err != nil || c.Nodes[0].Arch != a.Name || c.Nodes[1].Arch != workers.Name {
				t.Errorf("--arch %s --arch-workers %s: %+v, %v", a.Name, workers.Name, c, err)
			}
		}
	}
}

// A new cluster gets the newest Kubernetes that can be built.
func TestUpChoosesKubernetes(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	b, err := build.New(lab.Root(t), arch.Host(), progress.New(io.Discard))
	lab.Must(t, err)
	o := upDefaults()
	o.kubernetes = ""
	c, err := o.cluster(b)
	if err != nil || c.Kubernetes != clusterconfig.DefaultKubernetes {
		t.Errorf("cluster() = %+v, %v, want Kubernetes %s", c, err, clusterconfig.DefaultKubernetes)
	}
}
