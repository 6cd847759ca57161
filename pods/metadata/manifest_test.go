package metadata

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"kios/internal/instance"
	"kios/internal/kubeletargs"
	"kios/pods/metadata/eks"
	"kios/test/lab"
)

// What the pod reads below its root is there: a path without a mount is a file that never is.
func TestMounts(t *testing.T) {
	var pod struct {
		Spec struct {
			Containers []struct {
				VolumeMounts []struct{ MountPath, Name string }
			}
			Volumes []struct {
				Name     string
				HostPath struct{ Path string }
			}
		}
	}
	lab.Must(t, yaml.Unmarshal([]byte(lab.ReadFile(t, "metadata.yaml")), &pod))
	host := map[string]string{}
	for _, v := range pod.Spec.Volumes {
		host[v.Name] = v.HostPath.Path
	}
	mounted := func(path string) bool {
		for _, m := range pod.Spec.Containers[0].VolumeMounts {
			if m.MountPath == "/host"+host[m.Name] && strings.HasPrefix(path, host[m.Name]+"/") {
				return true
			}
		}
		return false
	}
	for _, path := range []string{
		instance.File, kubeletargs.CACert, eks.TokenFile, "/var/lib/kubelet/pki/x", "/dev/sr0", "/sys/class/dmi/id/product_uuid",
		"/sys/firmware/efi/efivars/x", "/sys/devices/system/cpu/online",
	} {
		if !mounted(path) {
			t.Errorf("the manifest has nothing at /host%s", path)
		}
	}
}
