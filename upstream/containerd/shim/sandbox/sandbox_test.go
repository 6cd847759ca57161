package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// pod returns what containerd asks for in the case of an ordinary pod.
func pod() *specs.Spec {
	score := -998
	return &specs.Spec{
		Process:  &specs.Process{Args: []string{"/pause"}, OOMScoreAdj: &score},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "pod-name",
		Annotations: map[string]string{
			"io.kubernetes.cri.container-type":        "sandbox",
			"io.kubernetes.cri.podsandbox.image-name": "kios.local/pause:1",
		},
		Linux: &specs.Linux{
			CgroupsPath: "/kios-test/pod1/sandbox",
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace, Path: "/run/netns/1"},
			},
			Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		},
	}
}

func TestSuitable(t *testing.T) {
	tests := []struct {
		name   string
		change func(*specs.Spec)
		want   bool
	}{
		{"ordinary pod", func(*specs.Spec) {}, true},
		{"host network", func(s *specs.Spec) {
			s.Linux.Namespaces, s.Linux.Sysctl = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}, nil
		}, true},
		{"cgroup namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
		}, false},
		{"another image with the same program", func(s *specs.Spec) {
			s.Annotations["io.kubernetes.cri.podsandbox.image-name"] = "example.com/pause:3"
		}, false},
		{"no sandbox", func(s *specs.Spec) { s.Annotations["io.kubernetes.cri.container-type"] = "container" }, false},
		{"user namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}, false},
		{"another's IPC namespace", func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/1/ns/ipc" }, false},
		{"network that is still to be made", func(s *specs.Spec) { s.Linux.Namespaces[4].Path = "" }, false},
		{"sysctl of the host's network", func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:4] }, false},
		{"sysctl of IPC", func(s *specs.Spec) { s.Linux.Sysctl["kernel.shm_rmid_forced"] = "1" }, false},
		{"sysctl that leads elsewhere", func(s *specs.Spec) { s.Linux.Sysctl["net./../kernel/core_pattern"] = "x" }, false},
		{"another program", func(s *specs.Spec) { s.Process.Args = []string{"/pause", "-v"} }, false},
		{"SELinux", func(s *specs.Spec) { s.Process.SelinuxLabel = "label" }, false},
		{"AppArmor", func(s *specs.Spec) { s.Process.ApparmorProfile = "profile" }, false},
		{"hooks", func(s *specs.Spec) { s.Hooks = &specs.Hooks{} }, false},
		{"systemd's cgroups", func(s *specs.Spec) { s.Linux.CgroupsPath = "kubepods.slice:cri-containerd:1" }, false},
		{"no cgroup", func(s *specs.Spec) { s.Linux.CgroupsPath = "" }, false},
		{"no process", func(s *specs.Spec) { s.Process = nil }, false},
	}
	for _, tt := range tests {
		s := pod()
		tt.change(s)
		if got := Suitable(s); got != tt.want {
			t.Errorf("%s: Suitable = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// writeBundle writes s as containerd does.
func writeBundle(t *testing.T, s *specs.Spec) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadTakesSandboxesOnly(t *testing.T) {
	if Read(writeBundle(t, pod())) == nil {
		t.Error("Read = nil for an ordinary pod's sandbox")
	}
	app := pod()
	app.Annotations["io.kubernetes.cri.container-type"] = "container"
	if s := Read(writeBundle(t, app)); s != nil {
		t.Errorf("Read = %+v for a container that is no sandbox, want nil", s)
	}
	if s := Read(t.TempDir()); s != nil {
		t.Errorf("Read = %+v without a bundle, want nil", s)
	}
}

func TestReadLeavesLargeBundlesToRunc(t *testing.T) {
	s := pod()
	s.Annotations["large"] = strings.Repeat("x", maxSpec)
	if got := Read(writeBundle(t, s)); got != nil {
		t.Error("Read takes a bundle of any size")
	}
}

// FuzzDecode bounds what the decoding of a bundle costs: all of it is made by containerd,
// but labels, annotations and sysctls are the pod's.
func FuzzDecode(f *testing.F) {
	text, err := json.Marshal(pod())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"annotations":{` + strings.Repeat(`"a":"",`, 10_000) + `"b":""}}`))
	f.Add([]byte(`{"process":{"args":[` + strings.Repeat(`"",`, 10_000) + `""]}}`))
	f.Add([]byte(strings.Repeat("[", 100_000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if s := decode(text); s != nil && !Suitable(s) {
			t.Error("decode returns a sandbox that is not suitable")
		}
		runtime.ReadMemStats(&after)
		if used, bound := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+300*len(text)); used > bound {
			t.Errorf("%d bytes take %d, want less than %d", len(text), used, bound)
		}
	})
}
