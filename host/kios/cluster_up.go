package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kios/host/arch"
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
	arch, archWorkers  archValue // without a name if not given
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
		Short: "Start a cluster, creating it first if it is new",
		Long: `Builds what is missing, boots the control plane's node and the workers, shows their
boots as they happen, and ends when all nodes are Ready and all system pods run. It
builds kubectl too, and prints what to type next.

A cluster that was stopped with "kios cluster down" starts again with its disks and
all data on them. You can then change the memory, the processors and the port, and
add workers; what you do not give stays as it was.

Nodes may be of several architectures: --arch-workers is that of the workers that
are added. What is not this machine's own is emulated; "kios deps --arch NAME"
installs what that takes.

Ctrl-C stops the cluster, unless one of its machines was running before. A second
Ctrl-C cuts the power.`,
		Example: `  kios cluster up
  kios cluster up --workers 1 --memory 768M
  kios cluster up --workers 1 --arch-workers arm64
  kios cluster up --name old --kubernetes v1.35.4`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.given = cmd.Flags().Changed
			return runClusterUp(cmd.Context(), o)
		},
	}
	nameFlag(cmd, &o.name)
	o.add(cmd.Flags())
	for _, flag := range []string{"arch", "arch-workers"} {
		cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(arch.Names(), cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

func (o *upOptions) add(f *pflag.FlagSet) {
	names := strings.Join(arch.Names(), " or ")
	f.Var(&o.arch, "arch", "architecture of a new cluster's nodes: "+names+" (default: this machine's)")
	f.Var(&o.archWorkers, "arch-workers", "architecture of the workers that are added: "+names+" (default: that of the control plane)")
	f.IntVar(&o.workers, "workers", 2, "number of workers")
	f.StringVar(&o.memory, "memory", "1G", "memory of each worker")
	f.StringVar(&o.controlPlaneMemory, "control-plane-memory", "1536M", "memory of the control plane's node")
	f.IntVar(&o.cpus, "cpus", 0, "processors of each node (default: 2; 1 for a worker if QEMU emulates more processors than the host has)")
	f.StringVar(&o.kubernetes, "kubernetes", "", "`version` of the control plane (default: the newest one that can be built)")
	f.StringVar(&o.firmware, "firmware", "direct", "how to boot: direct, or uefi, which is what a real machine does and takes longer")
	f.IntVar(&o.port, "port", 0, "port of the API server on 127.0.0.1 (default: a free one, which the cluster then keeps)")
	f.DurationVar(&o.timeout, "timeout", 0, "how long the machines may take until all is ready (default: 15m, or 45m if QEMU emulates them)")
}

func runClusterUp(ctx context.Context, o upOptions) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, interrupts()...)
	defer signal.Stop(signals)

	b, err := checkout(arch.Host())
	if err != nil {
		return err
	}
	c, err := o.cluster(b)
	if err != nil {
		return err
	}
	if up, err := showIfUp(ctx, c); up || err != nil {
		return err
	}
	fresh := len(c.Running()) == 0
	if err := o.check(c, fresh); err != nil {
		return err
	}
	products, err := clusterProducts(ctx, c)
	if err != nil {
		return err
	}
	return o.up(ctx, c, products, signals, fresh)
}

// showIfUp prints the status of a cluster of which everything runs already.
func showIfUp(ctx context.Context, c *cluster.Cluster) (up bool, err error) {
	if len(c.Running()) < len(c.Nodes) {
		return false, nil
	}
	s, err := c.Status(ctx)
	if err != nil || !s.Complete() {
		return false, err
	}
	fmt.Printf("cluster %s is already running\n\n", c.Name)
	return true, printStatus(c, s)
}

// check finds what keeps the cluster from starting before anything is built for
// it. The memory is checked again once it is known whether KVM works.
func (o upOptions) check(c *cluster.Cluster, fresh bool) error {
	for _, a := range c.Archs() {
		if err := cmp.Or(qemu.Installed(a), qemu.FirmwareInstalled(a, c.Firmware == "direct")); err != nil {
			return err
		}
	}
	if err := qemu.Installed(arch.Host()); err != nil { // for the network
		return err
	}
	if !fresh {
		return nil
	}
	if err := c.CheckMemory(c.BestAccels()); err != nil {
		return err
	}
	return o.checkPort()
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
		"arch":       {o.arch.Name, c.Nodes[0].Arch},
	} {
		if o.given(flag) && fixed[0] != fixed[1] {
			return nil, fmt.Errorf("--%s %s: cluster %s was created with %s, which cannot be changed; choose another --name, or remove the cluster with kios cluster down --purge", flag, fixed[0], c.Name, fixed[1])
		}
	}
	changed := c.State
	if err := o.set(&changed, o.given); err != nil {
		return nil, err
	}
	if o.changes(c, changed) && len(c.Running()) > 0 {
		return nil, fmt.Errorf("cluster %s is running and cannot be changed; stop it first with kios cluster down", c.Name)
	}
	c.State = changed
	workers := len(c.Nodes) - 1
	if o.given("workers") {
		workers = o.workers
	}
	return c, o.addWorkers(c, workers)
}

// addWorkers gives the cluster this many workers, new ones like the control plane unless
// the flags say otherwise. An architecture that is asked for in vain is an error.
func (o upOptions) addWorkers(c *cluster.Cluster, workers int) error {
	a := o.archWorkers.Arch
	if a.Name == "" {
		a = c.Archs()[0]
	}
	if err := c.AddWorkers(workers, a); err != nil {
		return err
	}
	isAsked := func(n cluster.Node) bool { return n.Arch == o.archWorkers.Name }
	if o.archWorkers.Name == "" || slices.ContainsFunc(c.Nodes[1:], isAsked) {
		return nil
	}
	return fmt.Errorf("--arch-workers %s: no worker is added, since cluster %s has %d already: ask for more with --workers", o.archWorkers.Name, c.Name, len(c.Nodes)-1)
}

// changes reports whether the flags ask for something else than there is.
func (o upOptions) changes(c *cluster.Cluster, s cluster.State) bool {
	return s.Memory != c.Memory || s.ControlPlaneMemory != c.ControlPlaneMemory || s.CPUs != c.CPUs || s.Port != c.Port ||
		o.given("workers") && o.workers > len(c.Nodes)-1
}

func (o upOptions) newCluster(b *build.Builder) (*cluster.Cluster, error) {
	s := cluster.State{Kubernetes: o.kubernetes, Firmware: o.firmware}
	if s.Firmware != "direct" && s.Firmware != "uefi" {
		return nil, fmt.Errorf("--firmware %s: must be direct or uefi", s.Firmware)
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
	a := o.arch.Arch
	if a.Name == "" {
		a = arch.Host()
	}
	if err := a.Check(); err != nil {
		return nil, err
	}
	c, err := cluster.New(o.name, s, a)
	if err != nil {
		return nil, err
	}
	return c, o.addWorkers(c, o.workers)
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
			return fmt.Errorf("--%s %s is too small: at least %s is needed", m.flag, m.text, diskimage.FormatSize(m.least))
		}
		*m.to = size
	}
	if o.given("cpus") && (o.cpus < 1 || o.cpus > 64) {
		return fmt.Errorf("--cpus %d: must be from 1 to 64", o.cpus)
	}
	if o.port < 0 || o.port > 65535 {
		return fmt.Errorf("--port %d: must be from 1 to 65535", o.port)
	}
	if take("cpus") {
		s.CPUs = o.cpus
	}
	if take("port") {
		s.Port = o.port
	}
	return nil
}

// checkPort fails if a port that was asked for by hand is taken; one that was only
// chosen for the cluster is replaced.
func (o upOptions) checkPort() error {
	if !o.given("port") || o.port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port))
	if err != nil {
		return fmt.Errorf("--port %d: another program listens there (%w); choose another port, or leave --port out", o.port, err)
	}
	return l.Close()
}

// clusterProducts builds what is not there for the cluster's nodes.
func clusterProducts(ctx context.Context, c *cluster.Cluster) (p cluster.Products, err error) {
	p.Nodes = map[string]cluster.NodeProducts{}
	for _, a := range c.Archs() {
		b, err := checkout(a)
		if err != nil {
			return p, err
		}
		if p.Nodes[a.Name], p.Kubectl, err = nodeProducts(ctx, b, c); err != nil {
			return p, err
		}
	}
	return p, nil
}

// nodeProducts builds what is not there for nodes of an architecture, and kubectl, which is
// for this host.
func nodeProducts(ctx context.Context, b *build.Builder, c *cluster.Cluster) (p cluster.NodeProducts, kubectl string, err error) {
	isMissing := func(name string) bool { return missing(b.Out(name)) }
	if slices.ContainsFunc([]string{"kios.efi", "vmlinuz", "initrd", "cmdline"}, isMissing) {
		if err := b.Build(ctx); err != nil {
			return p, "", err
		}
	}
	version := c.Kubernetes
	if c.HasDisks() && !b.HasControlPlane(version) {
		// An older kios has made the cluster, and its disks have all images. Only
		// a kubectl is needed.
		if version, err = b.NewestControlPlane(); err != nil {
			return p, "", err
		}
	}
	images := b.Cluster
	if b.Arch.Name != c.Archs()[0].Name {
		images = b.ClusterWorkers
	}
	made, err := images(ctx, version)
	if err != nil {
		return p, "", err
	}
	return cluster.NodeProducts{
		EFI:          b.Out("kios.efi"),
		Kernel:       b.Out("vmlinuz"),
		Initrd:       b.Out("initrd"),
		Cmdline:      b.Out("cmdline"),
		ControlPlane: made.ControlPlane,
		Worker:       made.Worker,
	}, made.Bin["kubectl"], nil
}

// up starts the cluster, and stops it again if that does not work. Machines
// that ran before, if it is not a fresh start, are not stopped.
func (o upOptions) up(ctx context.Context, c *cluster.Cluster, p cluster.Products, signals <-chan os.Signal, fresh bool) error {
	accels, err := c.Probe(ctx, p)
	if err != nil {
		return err
	}
	if fresh {
		if err := c.CheckMemory(accels); err != nil {
			return err
		}
	}
	if o.timeout == 0 {
		o.timeout = map[bool]time.Duration{false: 15 * time.Minute, true: 45 * time.Minute}[accels.Emulated()]
	}
	v := newClusterView(os.Stdout, c)
	defer v.end()
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err = c.Up(bounded, p, v)
	switch {
	case err == nil:
		v.end()
		fmt.Print(o.next(c, p, v.elapsed()))
		return nil
	case errors.Is(err, cluster.ErrNotReady):
		return fmt.Errorf("after %s, %w\nThe cluster keeps running: check it with kios cluster status, or stop it with kios cluster down", o.timeout, err)
	case errors.Is(err, cluster.ErrBusy):
		return err
	case fresh:
		return undo(ctx, c, v, err, signals)
	case ctx.Err() != nil:
		err = errInterrupted
	}
	return fmt.Errorf("%w\nThe running machines of cluster %s were not stopped: stop them with kios cluster down", err, c.Name)
}

var errInterrupted = errors.New("interrupted")

// undo stops what a start that failed has started.
func undo(ctx context.Context, c *cluster.Cluster, v *clusterView, err error, signals <-chan os.Signal) error {
	another := firstSignal
	if ctx.Err() != nil {
		err, another = errInterrupted, secondSignal
		v.Note("interrupted: stopping the machines that were started (Ctrl-C again cuts the power)")
	} else {
		v.Note("%v", err)
		v.Note("stopping the machines that were started (Ctrl-C cuts the power)")
	}
	stopping, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	go func() {
		if another(stopping, signals) {
			cut()
		}
	}()
	return errors.Join(err, c.Down(stopping, v))
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
