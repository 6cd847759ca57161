package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/bench"
	"kios/host/build"
	"kios/host/diskimage"
	"kios/host/gobuild"
	"kios/host/qemu"
)

func newBenchCommand() *cobra.Command {
	var runs int
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure boot time and memory, side by side with Debian",
		Long: `Boots kiOS and a Debian 12 guest with systemd in turns, both with the same
containerd, runc, kubelet, pod and image (Debian with upstream's shim), and prints
the time from power-on to the running container and the memory in use. The Debian
guest is installed with debootstrap the first time, which needs root and takes a
few minutes.`,
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
	cmd.Flags().IntVar(&runs, "runs", 5, "boots of each system")
	return cmd
}

func runBench(ctx context.Context, b *build.Builder, runs int) error {
	dir, err := os.MkdirTemp("", "kios-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
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
	programs, err := b.Upstream(ctx)
	if err != nil {
		return nil, err
	}
	// Debian has the shim that others have: ours is part of what is measured.
	programs["containerd-shim-runc-v2"], err = gobuild.Build(ctx, b.Log, b.Root, gobuild.UpstreamShim)
	if err != nil {
		return nil, err
	}
	reference, err := bench.MakeReference(ctx, b.Log, bench.Parts{
		Binaries: programs,
		Images:   []string{b.Out("pause.tar"), b.Out("hello.tar")},
	})
	if err != nil {
		return nil, fmt.Errorf("make the Debian reference: %w", err)
	}
	image, err := benchDisk(ctx, b, dir, "kios", nil)
	if err != nil {
		return nil, err
	}
	// An empty file of its name takes the place of a system pod's manifest.
	pods, err := b.SystemPods()
	if err != nil {
		return nil, err
	}
	empty := map[string][]byte{}
	for _, pod := range pods {
		empty[pod.Name+".yaml"] = nil
	}
	bare, err := benchDisk(ctx, b, dir, "bare", empty)
	if err != nil {
		return nil, err
	}
	accel, err := qemu.Probe(ctx, b.Out("vmlinuz"))
	if err != nil {
		return nil, err
	}
	cmdline, err := os.ReadFile(b.Out("cmdline"))
	if err != nil {
		return nil, err
	}
	machine := func(disk string) qemu.Config {
		return qemu.Config{
			Memory: 1 << 30, CPUs: 2, Accel: accel, Isolated: true,
			Disks: []qemu.Disk{{Path: disk, Snapshot: true, Unsafe: true}},
		}
	}
	direct, alone, uefi, debian := machine(image), machine(bare), machine(image), machine(reference.Disk)
	for _, cfg := range []*qemu.Config{&direct, &alone} {
		cfg.Kernel, cfg.Initrd, cfg.Append = b.Out("vmlinuz"), b.Out("initrd"), strings.TrimSpace(string(cmdline))
	}
	debian.Kernel, debian.Initrd = reference.Kernel, reference.Initrd
	debian.Append = "root=/dev/vda rw quiet console=ttyS0"
	return []bench.System{
		{Name: "kiOS, direct kernel boot", Config: direct},
		{Name: "kiOS, direct kernel boot, no other pod", Config: alone},
		{Name: "kiOS, UEFI", Config: uefi},
		{Name: "Debian 12, systemd, direct kernel boot", Config: debian},
	}, nil
}

// benchDisk makes a disk of a kiOS guest: the measured pod, and other manifests
// by file name.
func benchDisk(ctx context.Context, b *build.Builder, dir, name string, manifests map[string][]byte) (string, error) {
	etc := filepath.Join(dir, name+"-etc")
	pods := filepath.Join(etc, "kubernetes/manifests")
	if err := os.MkdirAll(pods, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(pods, "bench.yaml"), bench.Pod, 0o644); err != nil {
		return "", err
	}
	for file, text := range manifests {
		if err := os.WriteFile(filepath.Join(pods, file), text, 0o644); err != nil {
			return "", err
		}
	}
	image := filepath.Join(dir, name+".raw")
	return image, diskimage.Create(ctx, diskimage.Options{
		EFI: b.Out("kios.efi"), Etc: etc, OCI: []string{b.Out("hello.tar")}, Out: image,
	})
}
