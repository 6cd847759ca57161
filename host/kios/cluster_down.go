package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kios/host/cluster"
)

func newClusterDownCommand() *cobra.Command {
	var name string
	var purge, yes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster, or remove it with --purge",
		Long: `Presses the power buttons of the machines, the workers' first and then the control
plane's, and waits for the machines to switch off. Pods get their grace period. A
machine that is still on after four minutes is killed. Ctrl-C kills all machines
that still run.

The disks stay for the next "kios cluster up". With --purge, the cluster is removed
with its keys and all its data. That is asked for on a terminal, and needs --yes
elsewhere. Who presses Ctrl-C before the machines have ended keeps all of it. A
directory with files that kios has not made is refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := clusterToEnd(name, purge)
			if err == nil && purge && !yes {
				err = confirm(cmd.Context(), os.Stdin, os.Stderr, name)
			}
			if err != nil {
				return err
			}
			return runClusterDown(cmd.Context(), c, purge)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the cluster's disks, keys and other files")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --purge: do not ask")
	return cmd
}

// clusterToEnd opens the cluster that is to be stopped or removed.
func clusterToEnd(name string, purge bool) (*cluster.Cluster, error) {
	c, err := cluster.Open(name)
	if err != nil && purge {
		c, err = cluster.Remains(name) // a damaged one, or one that was never finished
	}
	if err == nil && purge {
		err = c.CheckOwn()
	}
	return c, err
}

// confirm asks whether a cluster is to be removed. Only a person at a terminal is asked,
// and Ctrl-C is an answer, too.
func confirm(ctx context.Context, in *os.File, out io.Writer, name string) error {
	if !term.IsTerminal(int(in.Fd())) {
		return errors.New("--purge removes the cluster's keys and all its data: confirm that with --yes")
	}
	fmt.Fprintf(out, "Remove cluster %s with its keys and all its data? [y/N] ", name)
	answer := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case a := <-answer:
		if (a == "y" || a == "yes") && ctx.Err() == nil {
			return nil
		}
	case <-ctx.Done():
		fmt.Fprintln(out)
	}
	return errors.New("nothing was stopped and nothing was removed")
}

func runClusterDown(ctx context.Context, c *cluster.Cluster, purge bool) error {
	v := newClusterView(os.Stdout, c)
	if len(c.Running()) == 0 {
		v.Note("no machine of cluster %s is running", c.Name)
	}
	err := c.Down(ctx, v)
	v.end()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("the machines that still ran were killed; the disks and keys are still there")
	}
	if !purge {
		fmt.Printf("cluster %s is down; its disks are in %s\n", c.Name, c.Dir)
		return nil
	}
	if err := c.Purge(); err != nil {
		return err
	}
	fmt.Printf("cluster %s has been removed\n", c.Name)
	return nil
}
