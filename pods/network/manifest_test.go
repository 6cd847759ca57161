package network

import (
	"maps"
	"slices"
	"strings"
	"testing"

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

// Both pods talk to strangers: of /etc they see what they need, and write nothing. The
// network may ask PID 1 for one thing only.
func TestPodsSeeNoKeys(t *testing.T) {
	for file, want := range map[string][]string{
		"network.yaml":      {"/etc/kios", "/etc/machine-id"},
		"../time/time.yaml": {"/etc/kios", "/etc/resolv.conf", "/etc/ssl/certs"},
	} {
		paths := hostPaths(t, file)
		var etc []string
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			if path == "/" || strings.HasPrefix(path, "/etc") {
				etc = append(etc, path)
				if paths[path] {
					t.Errorf("%s: %s is writable", file, path)
				}
			}
			if strings.HasPrefix(path, "/run/kios/control") && path != "/run/kios/control/hostname" {
				t.Errorf("%s: %s is mounted", file, path)
			}
		}
		if !slices.Equal(etc, want) {
			t.Errorf("%s: of /etc it mounts %v, want %v", file, etc, want)
		}
	}
}
