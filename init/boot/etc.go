package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/init/machine"
	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// mountEtc makes /etc writable: an overlay of the root's /etc, of what came with
// the initramfs, and of the changes, which are kept on the data partition.
func (n *Node) mountEtc() error {
	lower := []string{"/etc"}
	if n.memory < machine.FullMemory {
		lower = append(n.withoutExtras(), lower...)
	}
	if _, err := os.Stat(extra + "/etc"); err == nil {
		lower = append([]string{extra + "/etc"}, lower...)
	}
	if !n.work.data.borrowed() {
		for _, file := range []string{"localtime", "timezone"} {
			removeFalseDir(filepath.Join(etcDir, file))
		}
		err := (&layers{"/etc", lower, etcDir, etcWork}).mount(n.Log.Error)
		if err == nil {
			return n.completeEtc()
		}
		n.Log.Error("changes of /etc are kept in memory and lost with power: %v", err)
	}
	// The changes of earlier boots are in effect all the same.
	if _, err := os.Stat(etcDir); err == nil {
		lower = append([]string{etcDir}, lower...)
	}
	if err := (&layers{"/etc", lower, "/run/kios/etc.upper", "/run/kios/etc.work"}).mount(n.Log.Error); err != nil {
		return err
	}
	return n.completeEtc()
}

// removeFalseDir removes an empty directory that hides a file of the root. A container
// runtime makes a directory of a host path that does not exist, and these files did not,
// once.
func removeFalseDir(path string) { unix.Rmdir(path) }

// withoutExtras returns a layer for /etc that hides the manifests of the system pods that a
// node can do without. A user's file of the same name still brings one back.
func (n *Node) withoutExtras() []string {
	const layer = "/run/kios/small"
	extras, err := hideExtras("/etc", layer)
	if err != nil {
		n.Log.Warn("this machine is small, and the system pods cannot be left out: %v", err)
		return nil
	}
	n.Log.Warn("this machine has %d MB of memory: the system pods %s are left out (%d MB are enough for them)",
		n.memory>>20, strings.Join(extras, ", "), machine.FullMemory>>20)
	return []string{layer}
}

// hideExtras makes files in a layer over etc that hide all manifests but that of the network,
// and returns the names of the pods.
func hideExtras(etc, layer string) (pods []string, err error) {
	const dir = "kubernetes/manifests"
	all, err := os.ReadDir(filepath.Join(etc, dir))
	err = errors.Join(err, os.MkdirAll(filepath.Join(layer, dir), 0o755))
	for _, manifest := range all {
		if manifest.Name() == "network.yaml" {
			continue
		}
		pods = append(pods, strings.TrimSuffix(manifest.Name(), ".yaml"))
		err = errors.Join(err, os.WriteFile(filepath.Join(layer, dir, manifest.Name()), nil, 0o644))
	}
	return pods, err
}

// overlay mounts the lower layers on target, below the layer upper, which takes what
// is written.
func overlay(target string, lower []string, upper, work string) error {
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return mount.Row{Target: target, Type: "overlay", Source: "overlay", Flags: mount.Strict,
		Data: []string{fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), upper, work)}}.Mount()
}

// completeEtc adds what the kubelet needs and a user may have removed, and the place
// of seccomp profiles.
func (n *Node) completeEtc() error {
	n.linkResolver(resolver{"/"})
	// A missing directory costs the kubelet a second.
	if err := os.MkdirAll("/etc/kubernetes/manifests", 0o755); err != nil {
		return err
	}
	if _, err := os.Stat("/etc/localtime"); err != nil {
		n.Log.Warn("/etc/localtime is of no use: %v: pods that mount it do not start; a node has no time zones but UTC: put the file of the zone there, not a link to it", err)
	}
	if _, err := os.Stat("/etc/seccomp"); err != nil {
		return nil
	}
	return mount.Row{Source: "/etc/seccomp", Target: "/var/lib/kubelet/seccomp", Flags: mount.Strict | mount.RdOnly, Mode: 0o700}.Mount()
}
