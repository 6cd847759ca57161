package apparmor

import (
	"bytes"
	"os"
)

// Profiles is the kernel's list of loaded profiles.
const Profiles = "/sys/kernel/security/apparmor/profiles"

// Missing reports whether the kernel has AppArmor, whose list of profiles is the file
// list, but not containerd's default profile.
func Missing(list string) bool {
	text, err := os.ReadFile(list)
	if err != nil {
		return false // there is no AppArmor: containerd asks for no profile
	}
	return !bytes.Contains(append([]byte{'\n'}, text...), []byte("\n"+Default+" "))
}
