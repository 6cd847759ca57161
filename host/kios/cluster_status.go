package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kios/host/cluster"
)

func newClusterStatusCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a cluster's machines and nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(name)
			if err != nil {
				return withOthers(err)
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return printStatus(c, s)
		},
	}
	nameFlag(cmd, &name)
	return cmd
}

// withOthers adds to an error which clusters there are.
func withOthers(err error) error {
	names, namesErr := cluster.Names()
	if namesErr != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; there is %s", err, strings.Join(names, ", "))
}

func printStatus(c *cluster.Cluster, s cluster.Status) error {
	_, err := io.WriteString(os.Stdout, statusText(c, s, time.Now()))
	return err
}

// statusText is what "kios cluster status" prints.
func statusText(c *cluster.Cluster, s cluster.Status, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s, Kubernetes %s, in %s\n", c.Name, c.Kubernetes, c.Dir)
	switch {
	case s.Stopped():
		b.WriteString("stopped; kios cluster up starts it\n")
	case s.Network != nil:
		fmt.Fprintf(&b, "network: %v\n", s.Network)
	case s.API != nil:
		fmt.Fprintf(&b, "API server %s: %v\n", c.Server(), s.API)
	default:
		fmt.Fprintf(&b, "API server %s: ready\n", c.Server())
	}
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tMACHINE\tUPTIME\tSTATE\tKUBELET")
	for _, n := range s.Nodes {
		machine, uptime := "off", "-"
		if n.Running {
			machine, uptime = "on", now.Sub(n.Since).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, machine, uptime, n.State, n.Kubelet)
	}
	w.Flush()
	if len(s.Missing) > 0 {
		fmt.Fprintf(&b, "\nnot ready:\n  %s\n", strings.Join(s.Missing, "\n  "))
	}
	return b.String()
}

func newClusterLogsCommand() *cobra.Command {
	var name string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print the console of a node",
		Long: `Prints what the kernel and PID 1 of a node have said on its console, boot after
boot. The daemons' and the pods' logs are kubectl's to show: see docs/node.md.`,
		Example: `  kios cluster logs worker-1
  kios cluster logs control-plane -f`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runClusterLogs(cmd.Context(), name, args[0], follow)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
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
	if !follow {
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
	return cluster.Follow(ctx, c.ConsoleLog(node), 0, func(line string) { fmt.Println(line) })
}
