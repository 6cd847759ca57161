package defaults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// written returns the drop-in of a machine, as the kubelet reads it.
func written(t *testing.T, m Machine) kubeletv1beta1.KubeletConfiguration {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kubelet.d")
	if err := Write(dir, m); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	var kc kubeletv1beta1.KubeletConfiguration
	if err := json.Unmarshal(text, &kc); err != nil {
		t.Fatal(err)
	}
	return kc
}

func TestSettingsScale(t *testing.T) {
	tests := []struct {
		name                                string
		machine                             Machine
		memory, cpu, pid, evictMem, evictID string
		podPids                             int64
	}{
		{"small", Machine{256 * mib, 1, 2000, 0}, "32Mi", "50m", "500", "16Mi", "625", 1000},
		{"small, without a disk", Machine{256 * mib, 1, 2000, 192 * mib}, "70Mi", "50m", "500", "16Mi", "625", 1000},
		{"1 GiB", Machine{1 << 30, 2, 8000, 0}, "128Mi", "100m", "2000", "64Mi", "2500", 4000},
		{"64 GiB", Machine{64 << 30, 16, 500_000, 0}, "1056Mi", "110m", "8192", "100Mi", "10240", 4096},
		{"64 processors", Machine{256 << 30, 64, 2_000_000, 0}, "1056Mi", "230m", "8192", "100Mi", "10240", 4096},
	}
	for _, tt := range tests {
		kc := written(t, tt.machine)
		if kc.KubeReserved["memory"] != tt.memory || kc.KubeReserved["cpu"] != tt.cpu || kc.KubeReserved["pid"] != tt.pid ||
			kc.EvictionHard["memory.available"] != tt.evictMem || kc.EvictionHard["pid.available"] != tt.evictID || *kc.PodPidsLimit != tt.podPids {
			t.Errorf("%s: reserved %v, eviction %v, podPidsLimit %d", tt.name, kc.KubeReserved, kc.EvictionHard, *kc.PodPidsLimit)
		}
		if few := kc.ContainerLogMaxFiles != nil; few != (tt.machine.InMemory != 0) {
			t.Errorf("%s: fewer files of logs: %v", tt.name, few)
		}
		if collects := kc.ImageGCHighThresholdPercent != nil; collects != (tt.machine.InMemory != 0) {
			t.Errorf("%s: images are collected early: %v", tt.name, collects)
		}
	}
}

// The reserve grows with the pods: that of a large node with few is small.
func TestReserveGrowsWithPods(t *testing.T) {
	m := Machine{Memory: 64 << 30}
	for pods, want := range map[int]string{20: "336Mi", 110: "1056Mi", 250: "2176Mi"} {
		if got := m.Reserve(pods); got != want {
			t.Errorf("Reserve(%d) = %s, want %s", pods, got, want)
		}
	}
}

func TestThis(t *testing.T) {
	m, err := This("/dev/shm") // which is in memory everywhere
	if err != nil || m.Memory == 0 || m.CPUs == 0 || m.Threads == 0 || m.InMemory == 0 {
		t.Errorf("This = %+v, %v", m, err)
	}
	if m, err := This("/proc"); err != nil || m.InMemory != 0 {
		t.Errorf("a file system that is not in memory: %+v, %v", m, err)
	}
}
