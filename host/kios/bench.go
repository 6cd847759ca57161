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
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure boot time and memory, side by side with Debian",
		Long: `Boots kiOS and a Debian 12 guest with systemd in turns. Both have the same
containerd, runc, kubelet, pod and image; Debian has upstream's shim. It prints the
time from power-on to the running container and the memory in use.

The first run installs the Debian guest with debootstrap, which needs root and
takes a few minutes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := checkout("amd64")
			if err != nil {
				return err
			}
			if runs < 1 {
				return errors.New("--runs must be at least 1")
			}
			return runBench(cmd.Context(), b, runs)
		},
	}
	cmd.Flags().IntVar(&runs, "runs", 5, "how often to boot each system")
	return cmd
}

func runBench(ctx context.Context, b *build.Builder, runs int) error {
	dir, remove, err := cache.Scratch("bench-")
	if err != nil {
		return err
	}
	defer remove()
	systems, err := benchSystems(ctx, b, dir)
	if err != nil {
		return err
	}
	samples, err := bench.Run(ctx, b.Log, systems, runs)
	if err != nil {
		return err
	}
	efi, err := os.Stat(b.Out("kios.efi"))
	if err != nil {
		return err
	}
	fmt.Printf("kiOS %s, %d boots each, %s, 2 processors, 1 GiB\n\n", b.Versions.KiOS, runs, systems[0].Config.Accel)
	bench.Report(os.Stdout, systems, samples)
	fmt.Printf("\nkios.efi: %.1f MB\n", float64(efi.Size())/1e6)
	return nil
}

// benchSystems are the guests to compare; the last is the reference.
func benchSystems(ctx context.Context, b *build.Builder, dir string) ([]bench.System, error) {
	debian, err := benchReference(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("make the Debian reference: %w", err)
	}
	image, err := benchDisk(ctx, b, dir, "kios", nil)
	if err != nil {
		return nil, err
	}
	none, err := noSystemPods(b)
	if err != nil {
		return nil, err
	}
	bare, err := benchDisk(ctx, b, dir, "bare", none)
	if err != nil {
		return nil, err
	}
	accel, err := qemu.Probe(ctx, b.Out("vmlinuz"))
	if err != nil {
		return nil, err
	}
	direct, alone := benchMachine(accel, image), benchMachine(accel, bare)
	for _, cfg := range []*qemu.Config{&direct, &alone} {
		if err := cfg.BootDirectly(b.Out("vmlinuz"), b.Out("initrd"), b.Out("cmdline")); err != nil {
			return nil, err
		}
	}
	reference := benchMachine(accel, debian.Disk)
	reference.Kernel, reference.Initrd = debian.Kernel, debian.Initrd
	reference.Append = "root=/dev/vda rw quiet console=ttyS0"
	return []bench.System{
		{Name: "kiOS, direct kernel boot", Config: direct},
		{Name: "kiOS, direct kernel boot, no other pod", Config: alone},
		{Name: "kiOS, UEFI", Config: benchMachine(accel, image)},
		{Name: "Debian 12, systemd, direct kernel boot", Config: reference},
	}, nil
}

// benchReference makes the Debian guest, of the same programs. Debian has the shim
// that others have: ours is part of what is measured.
func benchReference(ctx context.Context, b *build.Builder) (*bench.Reference, error) {
	programs, err := b.Upstream(ctx)
	if err != nil {
		return nil, err
	}
	programs["containerd-shim-runc-v2"], err = gobuild.Build(ctx, b.Log, b.Root, gobuild.UpstreamShim)
	if err != nil {
		return nil, err
	}
	return bench.MakeReference(ctx, b.Log, bench.Parts{
		Binaries: programs,
		Images:   []string{b.Out("pause.tar"), b.Out("hello.tar")},
	})
}

func benchMachine(accel qemu.Accel, disk string) qemu.Config {
	return qemu.Config{
		Memory: 1 << 30, CPUs: 2, Accel: accel, Isolated: true,
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

// benchDisk makes a disk of a kiOS guest: the measured pod, and other manifests
// by file name.
func benchDisk(ctx context.Context, b *build.Builder, dir, name string, manifests map[string][]byte) (string, error) {
	etc := filepath.Join(dir, name+"-etc")
	pods := filepath.Join(etc, "kubernetes/manifests")
	if err := filetree.WriteFile(filepath.Join(pods, "bench.yaml"), bench.Pod, 0o644); err != nil {
		return "", err
	}
	for file, text := range manifests {
		if err := filetree.WriteFile(filepath.Join(pods, file), text, 0o644); err != nil {
			return "", err
		}
	}
	image := filepath.Join(dir, name+".raw")
	return image, diskimage.Create(ctx, diskimage.Options{
		EFI: b.Out("kios.efi"), Etc: etc, OCI: []string{b.Out("hello.tar")}, Out: image,
	})
}
