package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kios/host/cluster"
)

func newClusterDownCommand() *cobra.Command {
	var name string
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster, or remove it with --purge",
		Long: `Presses the power buttons of the machines, the workers' first and then the control
plane's, and waits for the machines to switch off. Pods get their grace period. A
machine that is still on after four minutes is killed. Ctrl-C kills all machines
that still run.

The disks stay for the next "kios cluster up". With --purge, the cluster is removed
with its keys and all its data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClusterDown(cmd.Context(), name, purge)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the cluster's disks, keys and other files")
	return cmd
}

func runClusterDown(ctx context.Context, name string, purge bool) error {
	c, err := cluster.Open(name)
	if err != nil && purge {
		c, err = cluster.Remains(name) // a damaged one, or one that was never finished
	}
	if err != nil {
		return err
	}
	v := newClusterView(os.Stdout, c)
	if len(c.Running()) == 0 {
		v.Note("no machine of cluster %s is running", c.Name)
	}
	err = c.Down(ctx, v)
	v.end()
	if err != nil {
		return err
	}
	if !purge {
		if ctx.Err() != nil {
			return errors.New("interrupted: the machines that still ran were killed")
		}
		fmt.Printf("cluster %s is down; its disks are in %s\n", c.Name, c.Dir)
		return nil
	}
	if err := c.Purge(); err != nil {
		return err
	}
	fmt.Printf("cluster %s has been removed\n", c.Name)
	return nil
}
