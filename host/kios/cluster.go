package main

import "github.com/spf13/cobra"

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Run a whole Kubernetes cluster of kiOS nodes in virtual machines",
		Long: `Runs a cluster of virtual machines on this host. One node runs the control plane as
static pods; the others are workers. All nodes run kiOS, and every part is built
from source. It needs no root, and nothing but the build needs the network.

The machines keep running after the command ends. Their disks stay until
"kios cluster down --purge".`,
		// Without these a mistyped command is help, and no error.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
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

// nameFlag says which cluster a command is about.
func nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "kios", "`name` of the cluster; there may be several")
}
