package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kios/host/arch"
)

func newClusterBuildCommand() *cobra.Command {
	var version string
	var a *archValue
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a control plane, kubectl and the add-ons from source",
		Long: `Builds etcd, the control plane of Kubernetes, kube-proxy, flannel with the CNI
plugins, CoreDNS and kubectl from source, and writes their images to
_out/<arch>/cluster/VERSION. "kios cluster up" does this by itself.

The first build takes about ten minutes on two cores.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClusterBuild(cmd.Context(), a.Arch, version)
		},
	}
	a = archFlag(cmd, "architecture of the nodes")
	cmd.Flags().StringVar(&version, "kubernetes", "", "`version` of Kubernetes (default: the newest one that can be built)")
	return cmd
}

func runClusterBuild(ctx context.Context, a arch.Arch, version string) error {
	b, err := checkout(a)
	if err != nil {
		return err
	}
	if version == "" {
		if version, err = b.NewestControlPlane(); err != nil {
			return err
		}
	}
	products, err := b.Cluster(ctx, version)
	if err != nil {
		return err
	}
	for _, layout := range products.ControlPlane {
		fmt.Println(layout)
	}
	return nil
}
