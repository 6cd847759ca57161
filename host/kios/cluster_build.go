package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newClusterBuildCommand() *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a control plane, kubectl and the add-ons from source",
		Long: `Builds etcd, the control plane of Kubernetes, kube-proxy, flannel with the CNI
plugins, CoreDNS and kubectl from source, and packs images of them. They are in
_out/<arch>/cluster/VERSION. "kios cluster up" does this by itself.

The first time takes about ten minutes on two cores.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := checkout("amd64")
			if err != nil {
				return err
			}
			if version == "" {
				if version, err = b.NewestControlPlane(); err != nil {
					return err
				}
			}
			products, err := b.Cluster(cmd.Context(), version)
			if err != nil {
				return err
			}
			for _, archive := range products.ControlPlane {
				fmt.Println(archive)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&version, "kubernetes", "", "`version` of Kubernetes (default: the newest here)")
	return cmd
}
