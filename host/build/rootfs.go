package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"kios/host/cache"
	"kios/host/filetree"
)

// emptyDirs are the directories of the root that have no file in them: mount
// points, and places that a user's /etc fills.
var emptyDirs = []struct {
	path string
	mode fs.FileMode
}{
	{"dev", 0o755},
	{"etc/cni/net.d", 0o755},
	{"etc/containerd/certs.d", 0o755},
	{"etc/kubernetes/config.d", 0o755},
	{"etc/kubernetes/manifests", 0o755},
	{"etc/kubernetes/pki", 0o755},
	{"lib/modules", 0o755},
	{"opt/cni/bin", 0o755},
	{"proc", 0o555},
	{"root", 0o700},
	{"run", 0o755},
	{"sys", 0o555},
	{"tmp", 0o755},
	{"usr/libexec/kubernetes/kubelet-plugins/credential-provider/exec", 0o755},
	{"usr/lib/containerd/verifiers", 0o755},
	{"usr/share/kios/images", 0o755},
	{"var", 0o755},
}

// links are the symbolic links of the root.
var links = map[string]string{
	"bin/mount":             "init",
	"bin/umount":            "init",
	"bin/modprobe":          "init",
	"sbin":                  "bin",
	"etc/ssl/ca-bundle.pem": "certs/ca-certificates.crt",
}

// stageRoot lays out the root file system below dir.
func (b *Builder) stageRoot(dir string, debs debianPackages, bins programs, pods []SystemPod) error {
	if err := os.Chmod(dir, 0o755); err != nil { // a temporary directory has 0700
		return err
	}
	if err := filetree.Copy(dir, filepath.Join(b.Root, "rootfs"), filetree.ReadOnly); err != nil {
		return err
	}
	for _, d := range emptyDirs {
		if err := filetree.Mkdir(filepath.Join(dir, d.path), d.mode); err != nil {
			return err
		}
	}
	for name, path := range bins.node() {
		if err := filetree.CopyFile(filepath.Join(dir, "bin", name), path, 0o555); err != nil {
			return err
		}
	}
	for path, target := range links {
		if err := filetree.Symlink(filepath.Join(dir, path), target); err != nil {
			return err
		}
	}
	return b.stageEtc(dir, debs, pods)
}

// stageEtc writes the parts of /etc that are made and not copied: the trusted
// certificates, os-release and the manifests of the system pods.
func (b *Builder) stageEtc(dir string, debs debianPackages, pods []SystemPod) error {
	bundle, err := certificateBundle(debs[certsPackage].dir)
	if err != nil {
		return err
	}
	if err := filetree.WriteFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), bundle, 0o444); err != nil {
		return err
	}
	if err := filetree.WriteFile(filepath.Join(dir, "etc/os-release"), b.osRelease(), 0o444); err != nil {
		return err
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

// buildRoot writes rootfs.erofs.
func (b *Builder) buildRoot(ctx context.Context, debs debianPackages, bins programs, pods []SystemPod) error {
	dir, remove, err := cache.Scratch("root-")
	if err != nil {
		return err
	}
	defer remove()
	if err := b.stageRoot(dir, debs, bins, pods); err != nil {
		return fmt.Errorf("lay out the root: %w", err)
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
