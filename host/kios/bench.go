package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kios/host/bench"
	"kios/host/build"
	"kios/host/cache"
	"kios/host/diskimage"
	"kios/host/filetree"
	"kios/host/gobuild"
	"kios/host/qemu"
)

func newBenchCommand() *cobra.Command {
	var runs int
	var against string
	var a *archValue
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure boot time and memory, side by side with Debian",
		Long: `Boots kiOS and a Debian 12 guest with systemd in turns. Both have the same
containerd, runc, kubelet, pod and image; Debian has upstream's shim. It prints the
time from power-on to the running container and the memory in use.

The first run installs the Debian guest with debootstrap, which needs root and
takes a few minutes. For another architecture than this machine's there is no
Debian guest, and kiOS is measured alone.

With --against, another build of kiOS takes Debian's place: what a change costs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := checkout(a.Arch)
			if err != nil {
				return err
			}
			if runs < 1 {
				return errors.New("--runs must be at least 1")
			}
			return runBench(cmd.Context(), b, against, runs)
		},
	}
	a = archFlag(cmd, "architecture to measure")
	cmd.Flags().IntVar(&runs, "runs", 5, "how often to boot each system")
	cmd.Flags().StringVar(&against, "against", "", "_out/<arch> of another `checkout`, built, to compare with instead of Debian")
	neverEmpty(cmd.Flags(), "against")
	return cmd
}

func runBench(ctx context.Context, b *build.Builder, against string, runs int) error {
	dir, remove, err := cache.Scratch("bench-")
	if err != nil {
		return err
	}
	defer remove()
	systems, err := benchSystems(ctx, b, dir, against)
	if err != nil {
		return err
	}
	samples, err := bench.Run(ctx, b.Log, systems, runs)
	if err != nil {
		return err
	}
	fmt.Printf("kiOS %s for %s, %d boots each, %s, 2 processors, 1 GiB\n\n", b.Versions.KiOS, b.Arch.Name, runs, systems[0].Config.Accel)
	if against != "" {
		// Two pairs: each build with all pods, then each without.
		bench.Report(os.Stdout, systems[:2], samples[:2])
		fmt.Println()
		systems, samples = systems[2:], samples[2:]
	}
	bench.Report(os.Stdout, systems, samples)
	fmt.Println()
	for _, out := range benchBuilds(b, against) {
		efi, err := os.Stat(filepath.Join(out, "kios.efi"))
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.2f MB\n", filepath.Join(out, "kios.efi"), float64(efi.Size())/1e6)
	}
	return nil
}

// benchBuilds are the folders of the builds that are measured, this checkout's first.
func benchBuilds(b *build.Builder, against string) []string {
	if against == "" {
		return []string{b.Out("")}
	}
	return []string{b.Out(""), against}
}

// benchSystems are the guests to compare.
func benchSystems(ctx context.Context, b *build.Builder, dir, against string) ([]bench.System, error) {
	accel, err := qemu.Probe(ctx, b.Arch, b.Out("vmlinuz"))
	if err != nil {
		return nil, err
	}
	lab := benchLab{b, dir, accel}
	if against != "" {
		return lab.otherBuild(ctx, against)
	}
	systems, err := lab.kiOS(ctx, "kiOS, direct kernel boot", b.Out(""))
	if err != nil {
		return nil, err
	}
	uefi := lab.machine(systems[0].Config.Disks[0].Path)
	systems = append(systems, bench.System{Name: "kiOS, UEFI", Config: uefi})
	if b.Arch.Foreign() {
		return systems, nil
	}
	reference, err := lab.debian(ctx)
	return append(systems, reference), err
}

// debian is the reference.
func (l benchLab) debian(ctx context.Context) (bench.System, error) {
	debian, err := benchReference(ctx, l.build)
	if err != nil {
		return bench.System{}, fmt.Errorf("make the Debian reference: %w", err)
	}
	cfg := l.machine(debian.Disk)
	cfg.Kernel, cfg.Initrd = debian.Kernel, debian.Initrd
	cfg.Append = "root=/dev/vda rw quiet console=" + l.build.Arch.QEMU.Console
	return bench.System{Name: "Debian 12, systemd, direct kernel boot", Config: cfg, Reference: true}, nil
}

// benchLab makes the guests.
type benchLab struct {
	build *build.Builder
	dir   string // of the disks
	accel qemu.Accel
}

// otherBuild pairs this build with another one, with the system pods and without them.
func (l benchLab) otherBuild(ctx context.Context, against string) ([]bench.System, error) {
	this, err := l.kiOS(ctx, "this build", l.build.Out(""))
	if err != nil {
		return nil, err
	}
	other, err := l.kiOS(ctx, "the other build", against)
	if err != nil {
		return nil, fmt.Errorf("the build in %s: %w", against, err)
	}
	other[0].Reference, other[1].Reference = true, true
	return []bench.System{this[0], other[0], this[1], other[1]}, nil
}

// kiOS are the guests of a build, with and without its system pods.
func (l benchLab) kiOS(ctx context.Context, name, out string) ([]bench.System, error) {
	none, err := noSystemPods(l.build)
	if err != nil {
		return nil, err
	}
	var systems []bench.System
	for _, s := range []struct {
		name      string
		manifests map[string][]byte
	}{{name, nil}, {name + ", no other pod", none}} {
		image, err := l.disk(ctx, out, s.manifests)
		if err != nil {
			return nil, err
		}
		cfg := l.machine(image)
		if err := cfg.BootDirectly(filepath.Join(out, "vmlinuz"), filepath.Join(out, "initrd"), filepath.Join(out, "cmdline")); err != nil {
			return nil, err
		}
		systems = append(systems, bench.System{Name: s.name, Config: cfg})
	}
	return systems, nil
}

// benchReference makes the Debian guest, of the same programs. Debian has the shim
// that others have: ours is part of what is measured.
func benchReference(ctx context.Context, b *build.Builder) (*bench.Reference, error) {
	programs, err := b.Upstream(ctx)
	if err != nil {
		return nil, err
	}
	programs["containerd-shim-runc-v2"], err = gobuild.Build(ctx, b.Log, b.Root, gobuild.Target{Arch: b.Arch}, gobuild.UpstreamShim)
	if err != nil {
		return nil, err
	}
	return bench.MakeReference(ctx, b.Log, bench.Parts{
		Binaries: programs,
		Images:   []string{b.Out("pause.tar"), b.Out("hello.tar")},
	})
}

func (l benchLab) machine(disk string) qemu.Config {
	return qemu.Config{
		Arch: l.build.Arch, Memory: 1 << 30, CPUs: 2, Accel: l.accel, Isolated: true,
		Disks: []qemu.Disk{{Path: disk, Snapshot: true, Unsafe: true}},
	}
}

// noSystemPods are manifests that leave a node without system pods: an empty file
// of its name takes the place of each.
func noSystemPods(b *build.Builder) (map[string][]byte, error) {
	pods, err := b.SystemPods()
	empty := map[string][]byte{}
	for _, pod := range pods {
		empty[pod.Name+".yaml"] = nil
	}
	return empty, err
}

// disk makes a disk of a kiOS guest: a build's kios.efi, the measured pod, and other
// manifests by file name.
func (l benchLab) disk(ctx context.Context, out string, manifests map[string][]byte) (string, error) {
	dir, err := os.MkdirTemp(l.dir, "")
	if err != nil {
		return "", err
	}
	etc := filepath.Join(dir, "etc")
	pods := filepath.Join(etc, "kubernetes/manifests")
	if err := filetree.WriteFile(filepath.Join(pods, "bench.yaml"), bench.Pod(l.build.Arch), 0o644); err != nil {
		return "", err
	}
	for file, text := range manifests {
		if err := filetree.WriteFile(filepath.Join(pods, file), text, 0o644); err != nil {
			return "", err
		}
	}
	image := filepath.Join(dir, "disk.raw")
	return image, diskimage.Create(ctx, diskimage.Options{
		EFI: filepath.Join(out, "kios.efi"), Etc: etc, OCI: []string{l.build.Out("hello.tar")}, Out: image,
	})
}
