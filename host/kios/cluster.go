package main

import (
	"github.com/spf13/cobra"
)

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Run a whole Kubernetes cluster of kiOS nodes in virtual machines",
		Long: `A cluster of virtual machines on this host: one node with the control plane, as
static pods, and workers, all of them kiOS and every part built from source. It
takes no root and nothing from the network but what the build does.

The machines go on running when the command ends, and their disks stay until
"kios cluster down --purge".`,
	}
	cmd.AddCommand(
		newClusterUpCommand(),
		newClusterDownCommand(),
		newClusterStatusCommand(),
		newClusterLogsCommand(),
		newClusterFilesCommand(),
		newClusterBuildCommand(),
	)
	return cmd
}

// nameFlag is which cluster a command is about.
func nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "kios", "the cluster's `name`: there may be several")
}
