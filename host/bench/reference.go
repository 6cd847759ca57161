package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/filetree"
	"kios/host/hosttool"
	"kios/host/progress"
)

//go:embed reference
var referenceFiles embed.FS

// referencePaths says where the embedded files go in the Debian guest.
var referencePaths = map[string]string{
	"containerd.service": "etc/systemd/system/containerd.service",
	"containerd.toml":    "etc/containerd/config.toml",
	"hostname":           "etc/hostname",
	"hosts":              "etc/hosts",
	"interfaces":         "etc/network/interfaces",
	"kubelet.service":    "etc/systemd/system/kubelet.service",
	"kubelet.yaml":       "etc/kubernetes/kubelet.yaml",
}

//go:embed pod.yaml
var pod string

// Pod is the manifest of the pod that is measured, for machines of an architecture.
func Pod(a arch.Arch) []byte {
	return []byte(strings.ReplaceAll(pod, "/dev/CONSOLE", "/dev/"+a.QEMU.Console))
}

// packages of the reference: what a small Debian server for Kubernetes has,
// with Debian's own cloud kernel.
func packages() []string {
	return []string{
		"systemd-sysv", "udev", "dbus", "ifupdown", "isc-dhcp-client", "iproute2",
		"kmod", "ca-certificates", "linux-image-cloud-" + arch.Host().Name, "initramfs-tools",
	}
}

// Reference is a Debian guest: a kernel, an initrd and an ext4 disk.
type Reference struct{ Kernel, Initrd, Disk string }

// Parts are what the reference shares with kiOS.
type Parts struct {
	Binaries map[string]string // containerd, containerd-shim-runc-v2, runc, kubelet: their paths
	Images   []string          // archives that containerd imports at its start
}

// MakeReference installs Debian 12 with debootstrap and adds the shared parts.
// Both results are kept in the cache. Needs root, as debootstrap does, and is for the
// host's own architecture: packages' programs run while they are installed.
func MakeReference(ctx context.Context, log *progress.Log, parts Parts) (*Reference, error) {
	base, err := debootstrap(ctx, log)
	if err != nil {
		return nil, err
	}
	key, err := referenceKey(base, parts)
	if err != nil {
		return nil, err
	}
	dir, err := cache.Product(ctx, log, "debian-reference", key, func(dir string) error {
		step := log.Start("make the disk of the Debian reference")
		return step.End(makeDisk(ctx, base, dir, parts))
	})
	if err != nil {
		return nil, err
	}
	return &Reference{
		Kernel: filepath.Join(dir, "vmlinuz"),
		Initrd: filepath.Join(dir, "initrd"),
		Disk:   filepath.Join(dir, "disk.raw"),
	}, nil
}

// referenceKey takes in all that the reference's disk is made of.
func referenceKey(base string, parts Parts) (*cache.Key, error) {
	inputs := []string{"reference disk", base, string(Pod(arch.Host()))}
	for _, file := range slices.Sorted(maps.Keys(referencePaths)) {
		text, err := referenceFiles.ReadFile("reference/" + file)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, string(text), referencePaths[file])
	}
	key := cache.NewKey(inputs...)
	for _, p := range slices.Concat(slices.Sorted(maps.Values(parts.Binaries)), parts.Images) {
		if err := key.AddTree(p); err != nil {
			return nil, err
		}
	}
	return key, nil
}

func debootstrap(ctx context.Context, log *progress.Log) (string, error) {
	key := cache.NewKey(append([]string{"debootstrap bookworm"}, packages()...)...)
	return cache.Product(ctx, log, "debootstrap", key, func(dir string) error {
		step := log.Start("install Debian 12 for the reference")
		root := filepath.Join(dir, "root")
		err := run(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(packages(), ","), "bookworm", root)
		// One that was interrupted leaves these mounted, and what removes its files
		// would walk through them.
		for _, mounted := range []string{"proc", "sys"} {
			unix.Unmount(filepath.Join(root, mounted), unix.MNT_DETACH)
		}
		return step.End(err)
	})
}

// makeDisk copies the installed system, adds the shared parts and writes an
// ext4 file system from it.
func makeDisk(ctx context.Context, base, dir string, parts Parts) error {
	root := filepath.Join(dir, "root")
	if err := run(ctx, "cp", "-a", filepath.Join(base, "root"), root); err != nil {
		return err
	}
	if err := fill(ctx, root, parts); err != nil {
		return err
	}
	if err := takeBoot(ctx, root, dir); err != nil {
		return err
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := run(ctx, "mke2fs", "-q", "-t", "ext4", "-d", root, disk, "4G"); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// fill adds to an installed Debian what it shares with kiOS, and the units that
// start it.
func fill(ctx context.Context, root string, parts Parts) error {
	for name, path := range parts.Binaries {
		if err := filetree.CopyFile(ctx, filepath.Join(root, "usr/local/bin", name), path, 0o755); err != nil {
			return err
		}
	}
	for _, image := range parts.Images {
		if err := filetree.CopyFile(ctx, filepath.Join(root, "usr/share/kios/images", filepath.Base(image)), image, 0o644); err != nil {
			return err
		}
	}
	for file, path := range referencePaths {
		text, err := referenceFiles.ReadFile("reference/" + file)
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(root, path), text); err != nil {
			return err
		}
	}
	if err := filetree.WriteFile(filepath.Join(root, "etc/kubernetes/manifests/bench.yaml"), Pod(arch.Host()), 0o644); err != nil {
		return err
	}
	return enable(root, "containerd.service", "kubelet.service")
}

// replace writes a file in place of Debian's own, if it has one.
func replace(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return filetree.WriteFile(path, text, 0o644)
}

// enable does what systemctl enable would do.
func enable(root string, units ...string) error {
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	for _, u := range units {
		if err := filetree.Symlink(filepath.Join(wants, u), "/etc/systemd/system/"+u); err != nil {
			return err
		}
	}
	return nil
}

// takeBoot copies the kernel and the initrd that Debian's packages made.
func takeBoot(ctx context.Context, root, dir string) error {
	for pattern, name := range map[string]string{"boot/vmlinuz-*": "vmlinuz", "boot/initrd.img-*": "initrd"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("the Debian reference has %d files %s instead of one", len(found), pattern)
		}
		if err := filetree.CopyFile(ctx, filepath.Join(dir, name), found[0], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run runs a tool and returns its last words if it fails.
func run(ctx context.Context, name string, args ...string) error {
	out, err := hosttool.Exec(ctx, name, args...).CombinedOutput()
	if err != nil {
		tail := out[max(0, len(out)-400):]
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(tail)))
	}
	return nil
}
