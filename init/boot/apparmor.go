package boot

import (
	"os"

	"kios/init/apparmor"
)

// profileDirs have the profiles of AppArmor: that of containers, and the user's.
var profileDirs = []string{"/usr/share/kios/apparmor", "/etc/apparmor.d"}

// loadProfiles loads them before containerd looks for its own. Without AppArmor in the
// kernel, or with apparmor=0 on its command line, there is nothing to do.
func (n *Node) loadProfiles() error {
	if _, err := os.Stat(apparmor.Kernel); err != nil {
		n.Log.Info("the kernel runs without AppArmor: %v", err)
		return nil
	}
	for _, dir := range profileDirs {
		for _, err := range apparmor.LoadDir(apparmor.Kernel, dir) {
			n.Log.Error("%v", err)
		}
	}
	return nil
}
