package etccheck

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/cpio"
	"kios/host/erofs"
	"kios/host/filetree"
	"kios/host/hosttool"
	"kios/host/uki"
)

// Node is the root file system of an EFI file, unpacked on this machine.
type Node struct {
	dir      string
	remove   func()
	arch     arch.Arch
	emulator Emulator
}

// Emulator gets a program that runs those of another architecture on this machine, and
// returns its path.
type Emulator func(ctx context.Context, a arch.Arch) (string, error)

// Open unpacks the root of the EFI file. It takes a second; Close removes the files. The
// emulator is for files that are not for this machine.
func Open(ctx context.Context, efi string, emulator Emulator) (*Node, error) {
	dir, remove, err := cache.Scratch("root-of-efi-")
	if err != nil {
		return nil, err
	}
	n := &Node{dir: filepath.Join(dir, "root"), remove: remove, emulator: emulator}
	if n.arch, err = unpack(ctx, efi, dir, n.dir); err != nil {
		remove()
		return nil, fmt.Errorf("read %s: %w", efi, err)
	}
	return n, nil
}

// Close removes the files.
func (n *Node) Close() { n.remove() }

// unpack unpacks the root into a directory, and says what it is for.
func unpack(ctx context.Context, efi, work, root string) (a arch.Arch, err error) {
	image, f, err := uki.Read(efi)
	if err != nil {
		return a, err
	}
	defer f.Close()
	if a, err = arch.OfMachine(image.Machine); err != nil {
		return a, err
	}
	initrd, err := image.Open(".initrd")
	if err != nil {
		return a, err
	}
	entries, err := cpio.List(initrd, initrd.Size())
	if err != nil {
		return a, err
	}
	i := slices.IndexFunc(entries, func(e cpio.Entry) bool { return e.Name == "rootfs.erofs" })
	if i < 0 {
		return a, fmt.Errorf("it has no root file system: it is not a kios.efi")
	}
	return a, extract(ctx, io.NewSectionReader(initrd, entries[i].Offset, entries[i].Size), work, root)
}

func extract(ctx context.Context, image io.Reader, work, root string) error {
	file := filepath.Join(work, "rootfs.erofs")
	if err := filetree.WriteFrom(file, image, 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	return erofs.Extract(ctx, file, root, erofs.Tools{})
}

// SystemPods returns the file names of the manifests of the system pods.
func (n *Node) SystemPods() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(n.dir, "etc/kubernetes/manifests"))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Machine is what is known about the machine that the files are for. Zero is unknown:
// what depends on it is then left to the node.
type Machine struct {
	Memory int64 // bytes
	CPUs   int
}

// programs are those of the node that check files, and the files that they check.
var programs = []struct {
	name    string
	files   []string
	machine bool // it can be told about the machine
}{
	{"kubelet", []string{"kubernetes/config.yaml", "kubernetes/config.d/*", "kubernetes/kubelet-flags", "kubernetes/credential-providers.*", "kubernetes/manifests/*"}, true},
	{"containerd", []string{"containerd/*.toml"}, false},
}

// Says returns what the node will say about the files in a directory that is to be laid
// over its /etc, one line each. It runs the node's programs, by the emulator if this
// machine cannot execute them.
func (n *Node) Says(ctx context.Context, etc string, m Machine) ([]string, error) {
	all, err := n.saysOfSmall(etc, m)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if !slices.ContainsFunc(p.files, func(pattern string) bool { return matches(etc, pattern) }) {
			continue
		}
		args := []string{filepath.Join(n.dir, "bin", p.name), "kios-check-config", etc}
		if p.machine && m.Memory > 0 {
			args = append(args, "--memory", strconv.FormatInt(m.Memory, 10))
		}
		if p.machine && m.CPUs > 0 {
			args = append(args, "--cpus", strconv.Itoa(m.CPUs))
		}
		out, err := n.run(ctx, args)
		if err != nil {
			return all, fmt.Errorf("check the files of %s with the node's own program: %w", p.name, err)
		}
		all = slices.AppendSeq(all, nonEmpty(out))
	}
	return all, nil
}

// run runs a program of the node, which is the first of the words.
func (n *Node) run(ctx context.Context, words []string) (string, error) {
	if n.arch.Foreign() {
		emulator, err := n.emulator(ctx, n.arch)
		if err != nil {
			return "", err
		}
		words = append([]string{emulator}, words...)
	}
	return hosttool.Run(ctx, words[0], words[1:]...)
}

func matches(etc, pattern string) bool {
	found, _ := filepath.Glob(filepath.Join(etc, pattern))
	return len(found) > 0
}

// nonEmpty yields the lines of a text that have content.
func nonEmpty(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}
