package userconfig

import (
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig"
	"k8s.io/kubernetes/pkg/kubelet/userns"
)

// podDirs is what the kubelet's manager of user namespaces wants to know of the kubelet.
type podDirs struct {
	dir  string
	pods []types.UID
	kc   *config.KubeletConfiguration
}

func (p podDirs) HandlerSupportsUserNamespaces(string) (bool, error) { return true, nil }
func (p podDirs) GetPodDir(pod types.UID) string                     { return filepath.Join(p.dir, string(pod)) }
func (p podDirs) ListPodsFromDisk() ([]types.UID, error)             { return p.pods, nil }
func (p podDirs) GetMaxPods() int                                    { return int(p.kc.MaxPods) }

// GetKubeletMappings is as on a node without a user "kubelet".
func (p podDirs) GetKubeletMappings(idsPerPod uint32) (first, length uint32, err error) {
	return idsPerPod, uint32(1<<32 - uint64(idsPerPod)), nil
}

// try reads which users the pods have, as the kubelet does when it starts.
func (p podDirs) try() error {
	_, err := userns.MakeUserNsManager(logr.Discard(), p, idsPerPod(p.kc))
	return err
}

func idsPerPod(kc *config.KubeletConfiguration) *int64 {
	if kc.UserNamespaces == nil {
		return nil
	}
	return kc.UserNamespaces.IDsPerPod
}

// idsOf returns how many users a pod with a user namespace has.
func idsOf(kc *config.KubeletConfiguration) int64 {
	if ids := idsPerPod(kc); ids != nil && *ids > 0 {
		return *ids
	}
	return kubeletconfig.DefaultKubeletUserNamespacesIDsPerPod
}

// putAsideUsers renames the files of pods' user namespaces that the kubelet would end on:
// those that cannot be read, and those of another userNamespaces.idsPerPod.
func putAsideUsers(dir string, kc *config.KubeletConfiguration, say func(format string, args ...any)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // there are no pods
	}
	good := podDirs{dir: dir, kc: kc}
	all := good
	for _, e := range entries {
		if e.IsDir() {
			all.pods = append(all.pods, types.UID(e.Name()))
		}
	}
	if all.try() == nil {
		return
	}
	for _, pod := range all.pods {
		with := good
		with.pods = append(with.pods[:len(with.pods):len(with.pods)], pod)
		if err := with.try(); err != nil {
			putAside(filepath.Join(good.GetPodDir(pod), "userns"), err, say)
			continue
		}
		good = with
	}
}

// putAside renames a state file that the kubelet would end on.
func putAside(path string, why error, say func(format string, args ...any)) {
	if err := os.Rename(path, path+".old"); err != nil {
		say("%s is no state for this configuration and machine, and cannot be put aside: %v", path, err)
		return
	}
	say("%s is put aside as %s.old: %s", path, filepath.Base(path), oneLine(why))
}
