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
		Short: "Stop a cluster; with --purge, remove it",
		Long: `Presses the power buttons of the machines, first of the workers and then of the
control plane, and waits for them to switch off; the pods get their grace. A
machine that has not ended after four minutes is killed. Ctrl-C kills what still
runs.

The disks stay for the next "kios cluster up", unless --purge is given: that
removes the cluster with its keys and all data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runClusterDown(cmd.Context(), name, purge)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the disks and all else that is kept of the cluster")
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
		v.Note("no machine of cluster %s runs", c.Name)
	}
	err = c.Down(ctx, v)
	v.end()
	if err != nil {
		return err
	}
	if !purge {
		if ctx.Err() != nil {
			return errors.New("interrupted: the power of what still ran was cut")
		}
		fmt.Printf("cluster %s is down; its disks are in %s\n", c.Name, c.Dir)
		return nil
	}
	if err := c.Purge(); err != nil {
		return err
	}
	fmt.Printf("cluster %s is removed\n", c.Name)
	return nil
}
