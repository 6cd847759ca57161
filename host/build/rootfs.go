package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"time"

	"kios/host/apparmor"
	"kios/host/cache"
	"kios/host/filetree"
	"kios/internal/hostpath"
)

// emptyDirs are the directories of the root that have no file in them: mount
// points, places that a user's /etc fills, and host paths that charts only read.
var emptyDirs = []struct {
	path string
	mode fs.FileMode
}{
	{"boot", 0o755}, // Falco, Datadog, BCC: the kernel's configuration, which is in /proc/config.gz
	{"dev", 0o755},
	{"etc/cni/net.d", 0o755},
	{"etc/containerd/certs.d", 0o755},
	{"etc/kubernetes/config.d", 0o755},
	{"etc/kubernetes/manifests", 0o755},
	{"etc/kubernetes/pki", 0o755},
	{"lib/modules", 0o755},
	{"lib/systemd", 0o755}, // kube-bench
	{"proc", 0o555},
	{"run", 0o755},
	{"sys", 0o555},
	{"tmp", 0o755},
	{"usr/libexec/kubernetes/kubelet-plugins", 0o755},
	{"usr/lib/containerd/verifiers", 0o755},
	{"usr/share/ca-certificates", 0o755}, // kubeadm's control plane
	{"usr/share/kios/images", 0o755},
	{"usr/src", 0o755}, // Falco, Datadog: headers of the kernel, which are not on the node
	{"var", 0o755},
}

// links are the symbolic links of the root, beside those of host paths that pods write
// to (package hostpath).
var links = map[string]string{
	"bin/apparmor_parser":   "init",
	"bin/blkid":             "init",
	"bin/blockdev":          "init",
	"bin/fsck":              "init",
	"bin/iscsiadm":          "init",
	"bin/losetup":           "init",
	"bin/mkfs.btrfs":        "init",
	"bin/mkfs.ext2":         "init",
	"bin/mkfs.ext3":         "init",
	"bin/mkfs.ext4":         "init",
	"bin/mkfs.xfs":          "init",
	"bin/resize2fs":         "init",
	"bin/xfs_growfs":        "init",
	"bin/mount":             "init",
	"bin/umount":            "init",
	"bin/modprobe":          "init",
	"bin/poweroff":          "init",
	"bin/reboot":            "init",
	"etc/localtime":         "../usr/share/zoneinfo/UTC",
	"etc/os-release":        "../usr/lib/os-release",
	"etc/ssl/ca-bundle.pem": "certs/ca-certificates.crt",
	"sbin":                  "bin",
	"usr/bin":               "../bin",
	"usr/lib/modules":       "../../lib/modules",
	"usr/sbin":              "../bin",
}

// stageRoot lays out the root file system below dir.
func (b *Builder) stageRoot(ctx context.Context, dir string, debs debianPackages, bins programs, pods []SystemPod) error {
	if err := os.Chmod(dir, 0o755); err != nil { // a temporary directory has 0700
		return err
	}
	if err := filetree.Copy(ctx, dir, filepath.Join(b.Root, "rootfs"), filetree.ReadOnly); err != nil {
		return err
	}
	for _, d := range emptyDirs {
		if err := filetree.Mkdir(filepath.Join(dir, d.path), d.mode); err != nil {
			return err
		}
	}
	for name, path := range bins.node() {
		if err := filetree.CopyFile(ctx, filepath.Join(dir, "bin", name), path, 0o555); err != nil {
			return err
		}
	}
	if err := stageLinks(dir); err != nil {
		return err
	}
	return b.stageEtc(dir, debs, pods)
}

func stageLinks(dir string) error {
	all := maps.Clone(links)
	for _, l := range hostpath.Links {
		all[l.Path] = l.Target()
	}
	for path, target := range all {
		if err := filetree.Symlink(filepath.Join(dir, path), target); err != nil {
			return err
		}
	}
	return nil
}

// stageEtc writes files that are made and not copied: the trusted certificates,
// os-release, the time zone and the manifests of the system pods.
func (b *Builder) stageEtc(dir string, debs debianPackages, pods []SystemPod) error {
	bundle, err := certificateBundle(debs[certsPackage].dir)
	if err != nil {
		return err
	}
	if err := filetree.WriteFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), bundle, 0o444); err != nil {
		return err
	}
	for path, text := range map[string][]byte{"usr/lib/os-release": b.osRelease(), "usr/share/zoneinfo/UTC": utcZone()} {
		if err := filetree.WriteFile(filepath.Join(dir, path), text, 0o444); err != nil {
			return err
		}
	}
	for _, pod := range pods {
		text, err := b.rootManifest(pod)
		if err != nil {
			return err
		}
		if err := filetree.WriteFile(filepath.Join(dir, pod.path()), text, 0o444); err != nil {
			return err
		}
	}
	return nil
}

// osRelease is the root's os-release(5), which is also the UKI's .osrel
// section: boot loaders show its PRETTY_NAME.
func (b *Builder) osRelease() []byte {
	return fmt.Appendf(nil, `ID=kios
NAME="kiOS"
VERSION_ID=%[1]s
PRETTY_NAME="kiOS %[1]s"
`, b.Versions.KiOS)
}

// utcZone is UTC as a file of the time zone database, in the form of RFC 8536: a block
// of version 1, one of version 2, and a footer.
func utcZone() []byte {
	block := make([]byte, 44, 54)
	copy(block, "TZif2")
	block[39], block[43] = 1, 4             // one type of local time, 4 bytes of names
	block = append(block, 0, 0, 0, 0, 0, 0) // offset 0, no daylight saving, name 0
	block = append(block, "UTC\x00"...)
	return append(bytes.Repeat(block, 2), "\nUTC0\n"...)
}

// certificateBundle joins the certificates of Debian's ca-certificates package
// in one PEM file, in the order of their names.
func certificateBundle(dir string) ([]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "usr/share/ca-certificates/mozilla/*.crt"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no certificates in Debian's ca-certificates package at %s", dir)
	}
	sort.Strings(paths)
	var out bytes.Buffer
	for _, p := range paths {
		pem, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		out.Write(bytes.TrimSpace(pem))
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// stageProfile writes the AppArmor profile of containers, as the containerd that is
// built makes it, in the form that the kernel loads.
func (b *Builder) stageProfile(ctx context.Context, dir, containerd string) error {
	const name = "cri-containerd.apparmor.d"
	argv := []string{containerd, "kios-apparmor-profile"}
	emulator, err := b.UserEmulator(ctx)
	if err != nil {
		return err
	}
	if emulator != "" {
		argv = append([]string{emulator}, argv...)
	}
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := exec.CommandContext(bounded, argv[0], argv[1:]...).Output()
	if err != nil {
		return fmt.Errorf("run %s kios-apparmor-profile: %w", containerd, err)
	}
	if !bytes.Contains(text, []byte("profile "+name)) {
		return fmt.Errorf("%s kios-apparmor-profile prints no profile %s", containerd, name)
	}
	binary, err := apparmor.Compile(ctx, text)
	if err != nil {
		return err
	}
	return filetree.WriteFile(filepath.Join(dir, "usr/share/kios/apparmor", name), binary, 0o444)
}

// buildRoot writes rootfs.erofs.
func (b *Builder) buildRoot(ctx context.Context, debs debianPackages, bins programs, pods []SystemPod) error {
	dir, remove, err := cache.Scratch("root-")
	if err != nil {
		return err
	}
	defer remove()
	if err := b.stageRoot(ctx, dir, debs, bins, pods); err != nil {
		return fmt.Errorf("lay out the root: %w", err)
	}
	if err := b.stageProfile(ctx, dir, bins["containerd"]); err != nil {
		return fmt.Errorf("compile the AppArmor profile of containers: %w", err)
	}
	if err := b.writeInventory(dir, debs, pods); err != nil {
		return err
	}
	image, err := b.makeErofs(ctx, dir, "rootfs", nil)
	if err != nil {
		return err
	}
	return b.publish("rootfs.erofs", image)
}

func marshal(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // our own types always marshal
	}
	return append(data, '\n')
}
