package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kios/host/arch"
	"kios/host/diskimage"
	"kios/host/etccheck"
	"kios/host/progress"
)

// imageFlags are the flags of "kios image".
type imageFlags struct {
	diskimage.Options
	size    string
	noCheck bool
	join    joinFlags
}

func newImageCommand() *cobra.Command {
	var f imageFlags
	var a *archValue
	cmd := &cobra.Command{
		Use:   "image [flags] OUT",
		Short: "Make a disk image that a node boots from",
		Long: `Writes a disk image with two partitions. The EFI system partition holds kios.efi.
The data partition holds what the node stores, and what you give it:

--etc DIR     a directory laid out like /etc. Its files are laid over the node's
              /etc. Put manifests of static pods into DIR/kubernetes/manifests, and
              the host name into DIR/hostname. They are checked by the kubelet and
              containerd in the EFI file, which run on this machine for that, in
              QEMU if the file is for another architecture; give --no-check if you
              do not trust the file.
--oci ARCHIVE an OCI layout or the output of "docker save", as a tar file, plain or
              compressed with gzip or zstd. The node imports it at boot. May be
              repeated. A layout whose layers are EROFS images may be a directory.

--join HOST:PORT --token TOKEN --ca FILE
              The node joins that cluster. "kubeadm token create
              --print-join-command" on the control plane prints these flags, with
              "kubeadm join" in place of --join. docs/joining.md has the steps, and
              other ways to join.

--no-data-partition makes a disk for nodes that have their data partition on another
disk, or none: then all is in memory. Nothing can be given to such a node with the
image, so it needs user data, or whatever else makes its files.

The disk is for machines of the EFI file's architecture. An archive with images of
several is fine: the node imports its own. What it will not find is named.

The image is sparse: it takes only the space of its contents. Write it to a disk
with dd, or boot it with "kios run --disk OUT". Root is not needed.`,
		Example: `  kios image --etc my-node --oci app.tar node.img
  kios image --format qcow2 --size 20G node.qcow2
  kios image --format ami-raw ami.raw
  kios image --format ami-raw --no-data-partition ami.raw
  kios image --join 10.0.0.1:6443 --token abcdef.0123456789abcdef --ca ca.crt node.img`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("give one file to write: kios image [flags] OUT")
			}
			f.Out = args[0]
			if cmd.Flags().Changed("arch") {
				f.Arch = a.Arch
			}
			return runImage(cmd.Context(), f)
		},
	}
	f.add(cmd.Flags())
	a = archFlag(cmd, "architecture of the machines")
	return cmd
}

func (f *imageFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.Etc, "etc", "", "`directory` whose contents are laid over the node's /etc")
	flags.StringArrayVar(&f.OCI, "oci", nil, "image `archive` for the node to import; may be repeated")
	flags.StringVar(&f.EFI, "efi", "", "EFI `file` to boot (default: kios.efi of this checkout)")
	flags.StringVar(&f.size, "size", "", "`size` of the disk, in powers of 1024 (default 4G, or 1G with --no-data-partition)")
	flags.BoolVar(&f.NoData, "no-data-partition", false, "make the EFI system partition only; not with --etc, --oci or --join")
	flags.StringVar(&f.Format, "format", "raw", "raw, qcow2, or ami-raw: a raw disk for EC2, see docs/cloud/ami.md")
	flags.BoolVar(&f.Force, "force", false, "replace OUT if it is an existing file")
	flags.BoolVar(&f.noCheck, "no-check", false, "do not check the files of --etc")
	f.join.add(flags)
	neverEmpty(flags, "etc", "oci", "efi", "size")
}

func runImage(ctx context.Context, f imageFlags) error {
	if f.NoData && f.join.to != "" {
		return diskimage.ErrNoPlace // which no other flag of --join mends
	}
	if f.size != "" {
		size, err := diskimage.ParseSize(f.size)
		if err != nil {
			return fmt.Errorf("--size: %w", err)
		}
		f.Size = size
	}
	if err := f.findEFI(); err != nil {
		return err
	}
	if err := checkInputs(f.Etc, f.OCI); err != nil {
		return err
	}
	if err := f.Check(); err != nil {
		return err
	}
	if f.Etc != "" && !f.noCheck {
		if err := f.check(ctx); err != nil {
			return err
		}
	}
	files, err := f.join.files(ctx)
	if err != nil {
		return err
	}
	if f.Extra, err = extra(files, f.Etc); err != nil {
		return err
	}
	var notes []string
	f.Note = func(text string) { notes = append(notes, text) }
	step := progress.New(os.Stderr).Start("make " + filepath.Base(f.Out))
	if err := step.End(diskimage.Create(ctx, f.Options)); err != nil {
		return err
	}
	for _, text := range notes {
		fmt.Fprintln(os.Stderr, "kios:", text)
	}
	return describeImage(ctx, f)
}

// findEFI takes the EFI file of the checkout if none is given.
func (f *imageFlags) findEFI() error {
	if f.EFI != "" {
		return nil
	}
	if f.Arch.Name == "" {
		f.Arch = arch.Host()
	}
	b, err := checkout(f.Arch)
	if err != nil {
		return fmt.Errorf("%w, or name an EFI file with --efi", err)
	}
	f.EFI = b.Out("kios.efi")
	return nil
}

// check finds out what is wrong with the files for /etc, and says what the node will
// say about them.
func (f *imageFlags) check(ctx context.Context) error {
	node, err := etccheck.Open(ctx, f.EFI, emulator)
	if err != nil {
		return err
	}
	defer node.Close()
	pods, err := node.SystemPods()
	if err != nil {
		return err
	}
	if err := etccheck.Check(f.Etc, pods); err != nil {
		return fmt.Errorf("%w\n(use --no-check to make the image anyway)", err)
	}
	for _, line := range askNode(ctx, node, f.Etc, etccheck.Machine{}) {
		fmt.Fprintln(os.Stderr, "kios:", line)
	}
	return ctx.Err()
}

// emulator gets what runs the programs of a node of another architecture.
func emulator(ctx context.Context, a arch.Arch) (string, error) {
	b, err := checkout(a)
	if err != nil {
		return "", fmt.Errorf("a node of %s can be asked on this machine (%s) in a checkout only: %w", a.Name, arch.Host().Name, err)
	}
	return b.UserEmulator(ctx)
}

// askNode returns what the node will say about the files in a directory for /etc.
func askNode(ctx context.Context, node *etccheck.Node, etc string, m etccheck.Machine) []string {
	says, err := node.Says(ctx, etc, m)
	if ctx.Err() != nil {
		return nil
	}
	for i, line := range says {
		says[i] = "the node will say: " + line
	}
	if err != nil {
		says = append(says, fmt.Sprintf("not checked: %v", err))
	}
	return says
}

// describeImage says what was put on the disk.
func describeImage(ctx context.Context, f imageFlags) error {
	fmt.Printf("%s  %s, %s\n", f.Out, diskimage.FormatSize(f.Size), f.Format)
	fmt.Printf("  EFI   %s, for %s\n", f.EFI, f.Arch.Name)
	if f.NoData {
		fmt.Println("  no data partition")
	}
	if f.Etc != "" {
		fmt.Printf("  /etc  %s\n", f.Etc)
	}
	if f.join.to != "" {
		f.join.describe()
	}
	for _, path := range f.OCI {
		names, err := diskimage.ImageNames(ctx, path, f.Arch)
		if err != nil {
			return err
		}
		fmt.Printf("  image %s  (%s)\n", strings.Join(names, ", "), path)
	}
	return nil
}
