package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kios/host/cluster"
)

func newClusterLogsCommand() *cobra.Command {
	var name string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print the console of a node",
		Long: `Prints what the kernel and PID 1 of a node have written to its console, boot after
boot. Use kubectl for the logs of the daemons and the pods: see docs/node.md.`,
		Example: `  kios cluster logs worker-1
  kios cluster logs control-plane -f`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runClusterLogs(cmd.Context(), name, args[0], follow)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new lines until Ctrl-C")
	return cmd
}

func runClusterLogs(ctx context.Context, name, node string, follow bool) error {
	c, err := cluster.Open(name)
	if err != nil {
		return withOthers(err)
	}
	if _, err := c.Node(node); err != nil {
		return err
	}
	if follow {
		return cluster.Follow(ctx, c.ConsoleLog(node), 0, func(line string) { fmt.Println(line) })
	}
	lines, err := cluster.Lines(c.ConsoleLog(node))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}
