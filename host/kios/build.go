package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kios/host/arch"
)

func newBuildCommand() *cobra.Command {
	var a *archValue
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build kios.efi from source",
		Long: `Builds the kernel, the upstream programs and the programs of kiOS from source and
writes _out/<arch>/kios.efi, with vmlinuz, initrd, cmdline, rootfs.erofs and the
example image hello.tar beside it.

The first build takes half an hour to an hour on two cores. The kernel and the
upstream programs are kept in ${XDG_CACHE_HOME:-~/.cache}/kios, under a hash of
their inputs, so later builds take seconds.

For another architecture than this machine's, "kios deps --arch NAME" installs the
compiler first.`,
		Example: `  kios build
  kios deps --arch arm64 && kios build --arch arm64`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBuild(cmd.Context(), a.Arch)
		},
	}
	a = archFlag(cmd, "architecture to build for")
	return cmd
}

func runBuild(ctx context.Context, a arch.Arch) error {
	b, err := checkout(a)
	if err != nil {
		return err
	}
	if err := b.Build(ctx); err != nil {
		return err
	}
	efi := b.Out("kios.efi")
	st, err := os.Stat(efi)
	if err != nil {
		return err
	}
	fmt.Printf("%s  %.1f MB\n", efi, float64(st.Size())/1e6)
	return nil
}
