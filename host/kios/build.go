package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newBuildCommand() *cobra.Command {
	var arch string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build kios.efi from source",
		Long: `Builds the kernel, the upstream programs and the programs of kiOS from source and
writes _out/<arch>/kios.efi, with vmlinuz, initrd, cmdline, rootfs.erofs and the
example image hello.tar beside it.

The first build takes half an hour to an hour on two cores. The kernel and the
upstream programs are kept in ${XDG_CACHE_HOME:-~/.cache}/kios, under a hash of
their inputs, so later builds take seconds.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBuild(cmd.Context(), arch)
		},
	}
	cmd.Flags().StringVar(&arch, "arch", "amd64", "architecture to build for; amd64 is the only one so far")
	return cmd
}

func runBuild(ctx context.Context, arch string) error {
	b, err := checkout(arch)
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
