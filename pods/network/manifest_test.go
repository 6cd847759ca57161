package network

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"kios/test/lab"
)

// manifest is what a pod's manifest says about the host's files.
type manifest struct {
	Spec struct {
		Containers []struct {
			VolumeMounts []struct {
				Name     string
				ReadOnly bool
			}
		}
		Volumes []struct {
			Name     string
			HostPath *struct{ Path string }
		}
	}
}

// hostPaths returns the paths of the host that the pod mounts, and whether it may
// write there.
func hostPaths(t *testing.T, file string) map[string]bool {
	t.Helper()
	var m manifest
	lab.Must(t, yaml.Unmarshal([]byte(lab.ReadFile(t, file)), &m))
	writable := map[string]bool{}
	for _, c := range m.Spec.Containers {
		for _, v := range c.VolumeMounts {
			writable[v.Name] = writable[v.Name] || !v.ReadOnly
		}
	}
	paths := map[string]bool{}
	for _, v := range m.Spec.Volumes {
		if v.HostPath != nil {
			paths[v.HostPath.Path] = writable[v.Name]
		}
	}
	return paths
}

// Both pods talk to strangers: they see what they need and nothing else, no directory
// above it, and write what is theirs. The network may ask PID 1 for one thing only.
func TestPodsSeeNoKeys(t *testing.T) {
	for file, want := range map[string]map[string]bool{ // whether it may write there
		"network.yaml": {
			"/etc/kios": false, "/etc/machine-id": false,
			"/run/kios/network": true, "/var/lib/kios/network": true, "/run/kios/control/hostname": true, "/proc/sys/net": true,
		},
		"../time/time.yaml": {
			"/etc/kios": false, "/etc/resolv.conf": false, "/etc/ssl/certs": false, "/run/kios/network": false, "/run/kios/clock": false,
			"/run/kios/time.resolv.conf": true, "/var/lib/kios/time": true,
		},
	} {
		if d := cmp.Diff(want, hostPaths(t, file)); d != "" {
			t.Errorf("%s mounts (-want +got):\n%s", file, d)
		}
	}
}
