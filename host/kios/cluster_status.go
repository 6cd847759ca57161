package main

import (
	"fmt"
	"io"
	"os"
	"slices"
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
		Short: "Show the machines and nodes of a cluster",
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

// withOthers adds the names of the clusters that exist to an error.
func withOthers(err error) error {
	names, namesErr := cluster.Names()
	if namesErr != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; existing clusters: %s", err, strings.Join(names, ", "))
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
		b.WriteString("stopped; start it with kios cluster up\n")
	case s.Network != nil:
		fmt.Fprintf(&b, "network: %v\n", s.Network)
	case s.API != nil:
		fmt.Fprintf(&b, "API server %s: %v\n", c.Server(), s.API)
	default:
		fmt.Fprintf(&b, "API server %s: ready\n", c.Server())
	}
	b.WriteString("\n")
	writeNodes(&b, s.Nodes, now)
	for _, n := range s.Nodes {
		if n.Paused != "" {
			fmt.Fprintf(&b, "\nmachine of %s: %s\n", n.Name, n.Paused)
		}
	}
	if len(s.Missing) > 0 {
		fmt.Fprintf(&b, "\nnot ready:\n  %s\n", strings.Join(s.Missing, "\n  "))
	}
	return b.String()
}

// writeNodes writes a table of the nodes, with their architectures if these differ.
func writeNodes(b io.Writer, nodes []cluster.NodeStatus, now time.Time) {
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	defer w.Flush()
	several := slices.ContainsFunc(nodes, func(n cluster.NodeStatus) bool { return n.Arch != nodes[0].Arch })
	row := func(cells ...string) {
		if !several {
			cells = slices.Delete(cells, 1, 2)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	row("NODE", "ARCH", "ADDRESS", "MACHINE", "UPTIME", "STATE", "KUBELET")
	for _, n := range nodes {
		machine, uptime := "off", "-"
		if n.Running {
			machine, uptime = "on", now.Sub(n.Since).Round(time.Second).String()
		}
		row(n.Name, n.Arch, n.Address.String(), machine, uptime, n.State, n.Kubelet)
	}
}
