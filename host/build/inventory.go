package build

import (
	"debug/buildinfo"
	"fmt"
	"path/filepath"
	"runtime/debug"

	"kios/host/filetree"
	"kios/host/inventory"
	"kios/internal/hostpath"
)

// modules are the Go modules whose versions the sources go by.
var modules = map[source]string{
	fromContainerd: "github.com/containerd/containerd/v2",
	fromRunc:       "github.com/opencontainers/runc",
	fromKubernetes: "k8s.io/kubernetes",
}

// writeInventory writes the list of the root's files into the root and checks
// that no file lacks a purpose.
func (b *Builder) writeInventory(root string, debs debianPackages, pods []SystemPod) error {
	m := inventory.Manifest{Version: b.Versions.KiOS}
	for _, p := range purposes {
		version, err := b.sourceVersion(p.from, filepath.Join(root, p.path), debs)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, inventory.File{
			Path: p.path, Purpose: p.purpose, Upstream: string(p.from), Version: version, Licence: licences[p.from],
		})
	}
	for _, l := range hostpath.Links {
		m.Files = append(m.Files, inventory.File{
			Path: "/" + l.Path, Purpose: "link into /var, for host paths: " + l.Who,
			Upstream: string(fromKiOS), Version: b.Versions.KiOS, Licence: licences[fromKiOS],
		})
	}
	for _, p := range pods {
		m.Files = append(m.Files, inventory.File{
			Path: p.path(), Purpose: p.purpose, Upstream: string(fromKiOS), Version: b.Versions.KiOS, Licence: licences[fromKiOS],
		})
	}
	for _, p := range processes {
		m.Processes = append(m.Processes, inventory.Process{Name: p.name, Path: p.path, Purpose: p.purpose})
	}
	if err := filetree.WriteFile(filepath.Join(root, inventory.Path), marshal(m), 0o444); err != nil {
		return err
	}
	paths, err := inventory.Tree(root)
	if err != nil {
		return err
	}
	if err := inventory.Check(paths, &m); err != nil {
		return fmt.Errorf("the root's files and host/build/purpose.go differ: %w", err)
	}
	return nil
}

// sourceVersion returns the version of what a file was made from: for a Go
// binary, what the binary itself says.
func (b *Builder) sourceVersion(from source, path string, debs debianPackages) (string, error) {
	switch from {
	case fromKiOS:
		return b.Versions.KiOS, nil
	case fromDebian:
		return debs[certsPackage].Version, nil
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", path, err)
	}
	if v := moduleVersion(info, modules[from]); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s does not contain the module %s", path, modules[from])
}

func moduleVersion(info *debug.BuildInfo, module string) string {
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}
