// Package cni puts the CNI plugins of a pod network where containerd runs them,
// and their configuration where containerd finds it (CNI specification 1.0.0).
//
// Pods get a pair of virtual interfaces each (plugin ptp) with an address of the
// node's subnet (host-local) and the host's ports that they ask for (portmap).
// There is no bridge, so it does not matter what bridged packets pass.
package cni

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/wholefile"
)

// Paths are directories.
type Paths struct {
	Plugins string // where the plugins are in the image
	Bin     string // where containerd runs them
	Etc     string // where containerd looks for configuration
	Run     string // where that is kept. Its path is the same for containerd
}

// name is that of the configuration. It comes before those of others with
// higher numbers: containerd takes the first.
const name = "10-flannel.conflist"

// Install copies the tree of plugins. Each file is whole when it appears, and
// one that is running is replaced, not changed.
func Install(p Paths) error {
	return filepath.WalkDir(p.Plugins, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(p.Plugins, path)
		if err != nil {
			return err
		}
		to := filepath.Join(p.Bin, relative)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		return copyFile(to, path)
	})
}

// copyFile makes the file to a copy of the program from.
func copyFile(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return wholefile.Copy(to, f, 0o755)
}

// Configure makes containerd give pods addresses of subnet, such as
// "10.244.1.0/24", on interfaces of that MTU.
//
// /etc is kept from boot to boot, but routes are not, and containerd calls the
// network ready as soon as there is configuration. So what is in /etc is a link to
// a file that does not outlive the boot.
func Configure(p Paths, subnet string, mtu int) error {
	data, err := configuration(p, subnet, mtu)
	if err != nil {
		return err
	}
	file := filepath.Join(p.Run, name)
	if err := os.MkdirAll(p.Run, 0o755); err != nil {
		return err
	}
	if err := wholefile.Volatile(file, data, 0o644); err != nil {
		return err
	}
	return link(file, filepath.Join(p.Etc, name))
}

// link makes the link at path anew even if it is right: it is this directory
// that containerd watches.
func link(to, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	fresh := filepath.Join(filepath.Dir(path), "."+name+".new")
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

func configuration(p Paths, subnet string, mtu int) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		// Not 1.1.0, whose STATUS host-local and portmap of v1.9.1 do not survive.
		"cniVersion": "1.0.0",
		"name":       strings.TrimSuffix(strings.TrimPrefix(name, "10-"), ".conflist"),
		"plugins": []object{
			{
				"type": "ptp",
				"mtu":  mtu,
				"ipam": object{
					"type":   "host-local",
					"ranges": [][]object{{{"subnet": subnet}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
					// By default in /var/lib, where the addresses of pods that were
					// running at a power cut would stay taken for ever.
					"dataDir": filepath.Join(p.Run, "addresses"),
				},
			},
			{
				"type":         "portmap",
				"backend":      "nftables",
				"capabilities": object{"portMappings": true},
			},
		},
	}, "", "  ")
}
