package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestLayout(t *testing.T) {
	tests := []struct {
		memory uint64
		cpus   int
		want   []Group
	}{
		{256 * mib, 1, []Group{{"init", 8 * mib, 110}, {"runtime", 32 * mib, 110}, {"kubelet", 256 * mib / 6, 110}}},
		{64 << 30, 64, []Group{{"init", 16 * mib, 740}, {"runtime", 64 * mib, 740}, {"kubelet", 96 * mib, 740}}},
		{64 << 30, 4096, []Group{{"init", 16 * mib, 10000}, {"runtime", 64 * mib, 10000}, {"kubelet", 96 * mib, 10000}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Layout(tt.memory, tt.cpus)); diff != "" {
			t.Errorf("Layout(%d, %d) (-want +got):\n%s", tt.memory, tt.cpus, diff)
		}
	}
}

func TestSetup(t *testing.T) {
	root := t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "cgroup.controllers"), "cpu memory pids\n")
	warnings, err := Setup(root, Layout(1<<30, 2))
	if err != nil || len(warnings) != 0 {
		t.Fatalf("Setup = %v, %v", warnings, err)
	}
	for file, want := range map[string]string{
		"cgroup.subtree_control": "+cpu +memory +pids",
		"init/cgroup.procs":      "0",
		"runtime/memory.min":     "67108864",
		"kubelet/cpu.weight":     "120",
	} {
		if got, _ := os.ReadFile(filepath.Join(root, file)); string(got) != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
}

func TestSetupWithoutControllers(t *testing.T) {
	root := t.TempDir()
	lab.Must(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), nil, 0o644))
	if _, err := Setup(root, Layout(1<<30, 2)); err == nil || !strings.Contains(err.Error(), "no controllers") {
		t.Errorf("Setup = %v", err)
	}
}

func TestPods(t *testing.T) {
	root := t.TempDir()
	if got := Pods(root); got != 0 {
		t.Errorf("without kubepods there are %d pods", got)
	}
	for _, dir := range []string{"kubepods/pod1/3f", "kubepods/burstable/pod2/a0", "kubepods/besteffort/pod3", "kubepods/besteffort/pod4", "kubelet"} {
		lab.Must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	if got := Pods(root); got != 4 {
		t.Errorf("there are %d pods, want 4", got)
	}
}

func TestOOMKills(t *testing.T) {
	dir := t.TempDir()
	if got := OOMKills(dir); got != 0 {
		t.Errorf("OOMKills without the file = %d", got)
	}
	lab.WriteFile(t, filepath.Join(dir, "memory.events"), "low 0\nhigh 0\nmax 3\noom 3\noom_kill 2\noom_group_kill 1\n")
	if got := OOMKills(dir); got != 2 {
		t.Errorf("OOMKills = %d, want 2", got)
	}
}
