package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"kios/host/build"
	"kios/host/cluster"
	"kios/host/diskimage"
	"kios/host/qemu"
)

// The least memory that is tried. What nodes need is in docs/cluster.md.
const (
	minWorker       = 512 << 20
	minControlPlane = 1 << 30
)

// upOptions are the flags of "kios cluster up".
type upOptions struct {
	name               string
	workers            int
	memory             string
	controlPlaneMemory string
	cpus               int
	kubernetes         string
	firmware           string
	port               int
	timeout            time.Duration

	given func(flag string) bool // whether a flag was set by hand
}

func newClusterUpCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster, making it first if it is new",
		Long: `Builds what is missing, boots a node with the control plane and the workers,
shows their boots as they happen, and ends when all nodes are Ready and all pods
of the system run. kubectl is built as well; what to type next is printed.

A cluster that was stopped with "kios cluster down" starts again with its disks
and all that is in them. Memory, processors and the port may then be others, and
workers may be added; what is not given stays as it was.

Ctrl-C stops the cluster, unless a machine of it ran before. A second Ctrl-C cuts
the power.`,
		Example: `  kios cluster up
  kios cluster up --workers 1 --memory 768M
  kios cluster up --name old --kubernetes v1.35.4`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.given = cmd.Flags().Changed
			return runClusterUp(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	nameFlag(cmd, &o.name)
	f.IntVar(&o.workers, "workers", 2, "how many workers")
	f.StringVar(&o.memory, "memory", "1G", "the memory of each worker")
	f.StringVar(&o.controlPlaneMemory, "control-plane-memory", "1536M", "the memory of the node with the control plane")
	f.IntVar(&o.cpus, "cpus", 0, "the processors of each node (default: 2, and 1 for a worker where QEMU emulates more processors than there are)")
	f.StringVar(&o.kubernetes, "kubernetes", "", "`version` of the control plane (default: the newest here)")
	f.StringVar(&o.firmware, "firmware", "direct", "how to boot: direct, or uefi, as a real machine does, which takes longer")
	f.IntVar(&o.port, "port", 0, "the port of the API server on 127.0.0.1 (default: a free one, and the same one later)")
	f.DurationVar(&o.timeout, "timeout", 0, "how long the machines may take until all is ready (default: 15m, and 45m where QEMU emulates them)")
	return cmd
}

func runClusterUp(ctx context.Context, o upOptions) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, interrupts()...)
	defer signal.Stop(signals)

	b, err := checkout("amd64")
	if err != nil {
		return err
	}
	c, err := o.cluster(b)
	if err != nil {
		return err
	}
	running := c.Running()
	if len(running) == len(c.Nodes) {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if s.Complete() {
			fmt.Printf("cluster %s runs already\n\n", c.Name)
			return printStatus(c, s)
		}
	}
	if len(running) == 0 {
		// At least, if a kernel is needed to tell whether KVM works.
		accel := qemu.TCG
		if qemu.MayUseKVM() {
			accel = qemu.KVM
		}
		if err := c.CheckMemory(accel); err != nil {
			return err
		}
	}
	if err := o.checkPort(c); err != nil {
		return err
	}
	products, err := clusterProducts(ctx, b, c)
	if err != nil {
		return err
	}
	return o.up(ctx, c, products, signals, len(running) == 0)
}

// cluster returns the cluster as the flags say: a new one, or the one that is
// there, changed.
func (o upOptions) cluster(b *build.Builder) (*cluster.Cluster, error) {
	c, err := cluster.Open(o.name)
	if errors.Is(err, cluster.ErrNone) {
		return o.newCluster(b)
	}
	if err != nil {
		return nil, err
	}
	for flag, fixed := range map[string][2]string{
		"kubernetes": {o.kubernetes, c.Kubernetes},
		"firmware":   {o.firmware, c.Firmware},
	} {
		if o.given(flag) && fixed[0] != fixed[1] {
			return nil, fmt.Errorf("--%s %s: cluster %s has %s, and keeps it: choose another --name, or remove the cluster with kios cluster down --purge", flag, fixed[0], c.Name, fixed[1])
		}
	}
	changed := c.State
	if err := o.set(&changed, o.given); err != nil {
		return nil, err
	}
	if o.changes(c, changed) && len(c.Running()) > 0 {
		return nil, fmt.Errorf("cluster %s runs, and cannot be changed while it does: stop it first with kios cluster down", c.Name)
	}
	c.State = changed
	if o.given("workers") {
		err = c.AddWorkers(o.workers)
	}
	return c, err
}

// changes reports whether the flags ask for something else than there is.
func (o upOptions) changes(c *cluster.Cluster, s cluster.State) bool {
	return s.Memory != c.Memory || s.ControlPlaneMemory != c.ControlPlaneMemory || s.CPUs != c.CPUs || s.Port != c.Port ||
		o.given("workers") && o.workers > len(c.Nodes)-1
}

func (o upOptions) newCluster(b *build.Builder) (*cluster.Cluster, error) {
	s := cluster.State{Kubernetes: o.kubernetes, Firmware: o.firmware}
	if s.Firmware != "direct" && s.Firmware != "uefi" {
		return nil, fmt.Errorf("--firmware %s: it must be direct or uefi", s.Firmware)
	}
	if s.Kubernetes == "" {
		newest, err := b.NewestControlPlane()
		if err != nil {
			return nil, err
		}
		s.Kubernetes = newest
	}
	if err := o.set(&s, func(string) bool { return true }); err != nil {
		return nil, err
	}
	return cluster.New(o.name, s, o.workers)
}

// set checks and takes over those flags that may differ from start to start.
func (o upOptions) set(s *cluster.State, take func(flag string) bool) error {
	for _, m := range []struct {
		flag, text string
		least      int64
		to         *int64
	}{
		{"memory", o.memory, minWorker, &s.Memory},
		{"control-plane-memory", o.controlPlaneMemory, minControlPlane, &s.ControlPlaneMemory},
	} {
		if !take(m.flag) {
			continue
		}
		size, err := diskimage.ParseSize(m.text)
		if err != nil {
			return fmt.Errorf("--%s: %w", m.flag, err)
		}
		if size < m.least {
			return fmt.Errorf("--%s %s is too small: it takes %s at least", m.flag, m.text, diskimage.FormatSize(m.least))
		}
		*m.to = size
	}
	if o.given("cpus") && (o.cpus < 1 || o.cpus > 64) {
		return fmt.Errorf("--cpus %d: it must be from 1 to 64", o.cpus)
	}
	if o.port < 0 || o.port > 65535 {
		return fmt.Errorf("--port %d: it must be from 1 to 65535", o.port)
	}
	if take("cpus") {
		s.CPUs = o.cpus
	}
	if take("port") {
		s.Port = o.port
	}
	return nil
}

// checkPort finds a port taken that was asked for by hand; one that was only
// chosen for the cluster is replaced.
func (o upOptions) checkPort(c *cluster.Cluster) error {
	if !o.given("port") || o.port == 0 || len(c.Running()) > 0 {
		return nil
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	if err != nil {
		return fmt.Errorf("--port %d: another program listens there (%w): choose another port, or leave the choice", o.port, err)
	}
	return l.Close()
}

// clusterProducts builds what is not there.
func clusterProducts(ctx context.Context, b *build.Builder, c *cluster.Cluster) (p cluster.Products, err error) {
	for _, name := range []string{"kios.efi", "vmlinuz", "initrd", "cmdline"} {
		if missing(b.Out(name)) {
			if err := b.Build(ctx); err != nil {
				return p, err
			}
			break
		}
	}
	version := c.Kubernetes
	if c.HasDisks() && !b.HasControlPlane(version) {
		// An older kios has made the cluster. All that is needed is a kubectl.
		if version, err = b.NewestControlPlane(); err != nil {
			return p, err
		}
	}
	made, err := b.Cluster(ctx, version)
	if err != nil {
		return p, err
	}
	return cluster.Products{
		EFI:          b.Out("kios.efi"),
		Kernel:       b.Out("vmlinuz"),
		Initrd:       b.Out("initrd"),
		Cmdline:      b.Out("cmdline"),
		Kubectl:      made.Bin["kubectl"],
		ControlPlane: made.ControlPlane,
		Worker:       made.Worker,
	}, nil
}

// up starts the cluster, and stops it again if that does not work. Machines
// that ran before are not stopped.
func (o upOptions) up(ctx context.Context, c *cluster.Cluster, p cluster.Products, signals <-chan os.Signal, all bool) error {
	accel, err := qemu.Probe(ctx, p.Kernel)
	if err != nil {
		return err
	}
	if all {
		if err := c.CheckMemory(accel); err != nil {
			return err
		}
	}
	if o.timeout == 0 {
		o.timeout = map[qemu.Accel]time.Duration{qemu.KVM: 15 * time.Minute, qemu.TCG: 45 * time.Minute}[accel]
	}
	v := newClusterView(os.Stdout, c)
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err = c.Up(bounded, p, v)
	switch {
	case err == nil:
		v.end()
		fmt.Print(o.next(c, p, v.elapsed()))
		return nil
	case errors.Is(err, cluster.ErrNotReady):
		v.end()
		return fmt.Errorf("after %s, %w\nIt goes on running: see kios cluster status; kios cluster down stops it", o.timeout, err)
	case errors.Is(err, cluster.ErrBusy):
		v.end()
		return err
	case !all:
		v.end()
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("%w\nWhat runs of cluster %s goes on: kios cluster down stops it", err, c.Name)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
		v.Note("interrupted: what was started is stopped (Ctrl-C again cuts the power)")
	} else {
		v.Note("%v", err)
		v.Note("what was started is stopped (Ctrl-C cuts the power)")
	}
	stopping, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	go func() {
		if ctx.Err() == nil && firstSignal(stopping, signals) || ctx.Err() != nil && secondSignal(stopping, signals) {
			cut()
		}
	}()
	downErr := c.Down(stopping, v)
	v.end()
	return errors.Join(err, downErr)
}

// next tells what to type.
func (o upOptions) next(c *cluster.Cluster, p cluster.Products, took time.Duration) string {
	name := ""
	if c.Name != "kios" {
		name = " --name " + c.Name
	}
	return fmt.Sprintf(`
cluster %s is up after %s: %d nodes, Kubernetes %s

  export KUBECONFIG=%s
  alias kubectl=%s
  kubectl get pods -A

  kios cluster status%s
  kios cluster logs%s %s
  kios cluster down%s
`, c.Name, took.Round(time.Second), len(c.Nodes), c.Kubernetes, c.Kubeconfig(), p.Kubectl, name, name, c.Nodes[len(c.Nodes)-1].Name, name)
}
