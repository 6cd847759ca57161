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
elsewhere. Who presses Ctrl-C before the machines have ended keeps all of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if purge && !yes {
				if err := confirm(os.Stdin, os.Stderr, name); err != nil {
					return err
				}
			}
			return runClusterDown(cmd.Context(), name, purge)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the cluster's disks, keys and other files")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --purge: do not ask")
	return cmd
}

// confirm asks whether a cluster is to be removed. Only a person at a terminal is asked.
func confirm(in *os.File, out io.Writer, name string) error {
	if !term.IsTerminal(int(in.Fd())) {
		return errors.New("--purge removes the cluster's keys and all its data: confirm that with --yes")
	}
	fmt.Fprintf(out, "Remove cluster %s with its keys and all its data? [y/N] ", name)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was stopped and nothing was removed")
	}
	return nil
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
