package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"kios/host/clusterconfig"
	"kios/host/console"
	"kios/host/hosttool"
	"kios/host/qemu"
)

// Observer is told what happens while a cluster comes up or goes down. Its
// methods are called from several goroutines.
type Observer interface {
	// Console is a line of a node's console.
	Console(node string, e console.Event)
	// State is in a word or two how far a node has come.
	State(node, state string)
	// Note is a remark on the whole.
	Note(format string, args ...any)
}

// ErrNotReady says that the machines run and not all that belongs to the
// cluster does, after the time that was given to it.
var ErrNotReady = errors.New("the cluster is not ready")

// start is one start of a cluster.
type start struct {
	*Cluster
	products Products
	observer Observer
	keys     *clusterconfig.Cluster
	accels   Accels
	api      *API

	since    map[string]time.Time // when each machine was powered on
	ready    map[string]bool      // nodes that were Ready when last seen
	fail     context.CancelCauseFunc
	watching sync.WaitGroup
}

// Up starts a cluster whose machines are stopped, and makes it first if it is
// new. It returns when all nodes are ready and all pods of the system run. The
// context bounds the start; an error but ErrNotReady leaves the machines that
// were started to the caller, who stops them with Down.
func (c *Cluster) Up(ctx context.Context, p Products, o Observer) error {
	if c.found == nil { // a new one does not mix with what another has put there
		if err := c.CheckOwn(); err != nil {
			return err
		}
	}
	if err := c.makeDirs(); err != nil {
		return fmt.Errorf("make cluster %s: %w", c.Name, err)
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.checkUnchanged(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &start{Cluster: c, products: p, observer: o, since: map[string]time.Time{}, ready: map[string]bool{}, fail: cancel}
	defer s.watching.Wait()
	defer cancel(nil)
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.cause(ctx, s.run(ctx))
}

// cause prefers what ended the start (a machine died, the time is up) to what was
// going on then.
func (s *start) cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled) || errors.Is(err, ErrNotReady):
		return err
	case errors.Is(cause, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	default:
		return cause
	}
}

// prepare makes what the machines share.
func (s *start) prepare(ctx context.Context) (err error) {
	if err := s.CheckSpace(); err != nil {
		return err
	}
	if err := s.copyBoot(s.products); err != nil {
		return fmt.Errorf("copy what the machines boot: %w", err)
	}
	if s.accels, err = s.Probe(ctx, s.products); err != nil {
		return err
	}
	if s.keys, err = s.Cluster.keys(s.accels.of(s.Nodes[0])); err != nil {
		return err
	}
	s.noteEmulated(ctx)
	if err := s.startSwitch(ctx); err != nil {
		return err
	}
	if err := s.choosePort(); err != nil {
		return err
	}
	return s.writeAccess()
}

// noteEmulated says which machines QEMU emulates, and why.
func (s *start) noteEmulated(ctx context.Context) {
	all := s.Archs()
	for _, a := range all {
		if s.accels[a.Name] != qemu.TCG {
			continue
		}
		which := "the machines"
		if len(all) > 1 {
			which = "the " + a.Name + " machines"
		}
		s.observer.Note("QEMU emulates %s, which is some ten times slower than KVM: %s", which, qemu.WhyEmulated(ctx, a, s.products.Nodes[a.Name].Kernel))
	}
}

// startSwitch starts the network, unless it runs and has machines. These cannot
// join another one than that which they were started with; without any, it may
// be one for fewer nodes.
func (s *start) startSwitch(ctx context.Context) error {
	running := s.Running()
	if len(running) == 0 {
		if err := s.stopSwitch(); err != nil {
			return err
		}
	}
	network, err := s.Switch()
	if err == nil {
		network.Close()
		return nil
	}
	if !errors.Is(err, qemu.ErrNotRunning) {
		return err
	}
	if len(running) > 0 {
		return fmt.Errorf("the network of cluster %s has ended, but %s is still running; stop the cluster with kios cluster down and try again (the cause is in %s)", s.Name, running[0], s.path("network/qemu.log"))
	}
	var ports []string
	for _, n := range s.Nodes {
		ports = append(ports, n.Name)
	}
	_, err = qemu.StartSwitch(ctx, qemu.SwitchConfig{Dir: s.path("network"), Ports: ports})
	return err
}

// choosePort finds a port for the API server, and keeps it: people copy
// kubeconfigs. Another program may have taken it since.
func (s *start) choosePort() error {
	if m, err := s.Machine(ControlPlane); err == nil {
		m.Close()
		return nil
	}
	if s.Port != 0 && freePort(s.Port) == 0 {
		s.observer.Note("port %d of this host, which the API server had before, is taken; it gets another one", s.Port)
		s.Port = 0
	}
	if s.Port = freePort(s.Port); s.Port == 0 {
		return fmt.Errorf("%w, and no free one was found for the API server", qemu.ErrPortTaken)
	}
	return nil
}

// firstPort is where ports for API servers are looked for. The kernel gives those from
// 32768 on to whoever connects to somewhere: one of them could be taken at any start.
const firstPort, portTries = 16443, 1000

// freePort returns a port, or any for 0, if nobody listens at it; otherwise 0.
func freePort(port int) int {
	if port != 0 {
		return tryPort(port)
	}
	for port := range portTries {
		if free := tryPort(firstPort + port); free != 0 {
			return free
		}
	}
	return 0
}

func tryPort(port int) int {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// writeAccess writes the kubeconfig and notes what the cluster is like.
func (s *start) writeAccess() error {
	kubeconfig, err := s.keys.Kubeconfig(s.Server())
	if err != nil {
		return err
	}
	if s.api, err = NewAPI(kubeconfig); err != nil {
		return err
	}
	return errors.Join(s.write("kubeconfig", kubeconfig), s.save())
}

// run boots the machines and waits until all is there.
func (s *start) run(ctx context.Context) error {
	defer s.api.Close()
	now, later := s.order()
	for _, n := range later {
		s.observer.State(n.Name, "waiting")
	}
	if err := s.powerOn(ctx, now); err != nil {
		return err
	}
	if err := s.awaitAPI(ctx); err != nil {
		return err
	}
	if err := s.applyAddOns(ctx); err != nil {
		return err
	}
	for _, n := range later {
		if err := s.await(ctx, snapshot.nodesMissing); err != nil {
			return err
		}
		if err := s.powerOn(ctx, []Node{n}); err != nil {
			return err
		}
	}
	if err := s.await(ctx, snapshot.missing); err != nil {
		return err
	}
	// A node may not give itself a role, as kubectl get nodes shows it.
	return s.kubectl(ctx, "label", "--overwrite", "node/"+ControlPlane, "node-role.kubernetes.io/control-plane=")
}

// order says which machines boot at once. Workers that are emulated come one after the
// other, behind the control plane: while others take the host's processors, its API server
// may not come up within the minute that it allows itself, or not answer in time once it
// is up.
func (s *start) order() (now, later []Node) {
	for _, n := range s.Nodes {
		if n.controlPlane() || s.accels.of(n) != qemu.TCG {
			now = append(now, n)
		} else {
			later = append(later, n)
		}
	}
	return now, later
}

// powerOn boots machines, and watches them.
func (s *start) powerOn(ctx context.Context, nodes []Node) error {
	for _, n := range nodes {
		from := size(s.ConsoleLog(n.Name))
		m, err := s.machineOf(ctx, n)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		s.since[n.Name] = m.Since
		s.watching.Go(func() {
			Follow(ctx, s.ConsoleLog(n.Name), from, func(line string) { s.observer.Console(n.Name, console.Parse(line)) })
		})
		s.watching.Go(func() { s.guard(ctx, n.Name, m) })
	}
	return nil
}

// machineOf returns a node's machine, which it starts unless it runs.
func (s *start) machineOf(ctx context.Context, n Node) (*qemu.Detached, error) {
	m, err := s.Machine(n.Name)
	if !errors.Is(err, qemu.ErrNotRunning) {
		return m, err
	}
	s.observer.State(n.Name, "making the disk")
	if err := s.makeDisk(ctx, n, s.keys, s.products); err != nil {
		return nil, err
	}
	cfg, err := s.machine(n, s.accels.of(n))
	if err != nil {
		return nil, err
	}
	s.observer.State(n.Name, "booting")
	m, err = qemu.StartDetached(ctx, cfg)
	if n.controlPlane() && errors.Is(err, qemu.ErrPortTaken) { // while its disk was made
		return s.startElsewhere(ctx, n)
	}
	return m, err
}

// startElsewhere starts the control plane with another port.
func (s *start) startElsewhere(ctx context.Context, n Node) (*qemu.Detached, error) {
	if err := errors.Join(s.choosePort(), s.writeAccess()); err != nil {
		return nil, err
	}
	cfg, err := s.machine(n, s.accels.of(n))
	if err != nil {
		return nil, err
	}
	return qemu.StartDetached(ctx, cfg)
}

// guard ends the start when a machine does.
func (s *start) guard(ctx context.Context, node string, m *qemu.Detached) {
	defer m.Close()
	select {
	case <-ctx.Done():
	case <-m.Done():
		s.fail(fmt.Errorf("the machine of node %s has ended; the end of its console (%s):%s", node, s.ConsoleLog(node), tail(s.ConsoleLog(node), 20)))
	}
}

// awaitAPI waits for the API server.
func (s *start) awaitAPI(ctx context.Context) error {
	err := s.poll(ctx, func(ctx context.Context) []string {
		if err := s.api.Healthy(ctx); err != nil {
			return []string{"the API server is not ready: " + brief(err.Error())}
		}
		return nil
	})
	if err == nil {
		s.observer.Note("the API server is ready")
	}
	return err
}

// await waits until nothing is missing on the machines that were powered on.
func (s *start) await(ctx context.Context, missing func(snapshot, map[string]time.Time) []string) error {
	return s.poll(ctx, func(ctx context.Context) []string {
		now, err := s.api.snapshot(ctx)
		if err != nil {
			return []string{brief(err.Error())}
		}
		s.announce(now)
		return missing(now, s.since)
	})
}

// announce tells of nodes that have become ready.
func (s *start) announce(now snapshot) {
	for name, since := range s.since {
		is := now.node(name).notReady(since) == ""
		if is && !s.ready[name] {
			s.observer.State(name, "Ready")
			s.observer.Note("node %s is Ready", name)
		}
		s.ready[name] = is
	}
}

// poll asks until nothing is missing: once a second, and an emulated control plane
// less often, because an answer is work there. What was missing last is in its
// error.
func (s *start) poll(ctx context.Context, ask func(context.Context) []string) error {
	every := time.Second
	if s.accels.of(s.Nodes[0]) == qemu.TCG {
		every = 3 * time.Second
	}
	again := time.NewTicker(every)
	defer again.Stop()
	missing := []string{"nothing is known about it yet"}
	for {
		// An attempt that the end of the context cut short says nothing.
		if now := ask(ctx); ctx.Err() == nil {
			missing = now
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return s.late(ctx, missing)
		}
	}
}

// late says what is missing, and what the cluster itself complains about.
func (s *start) late(ctx context.Context, missing []string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	var b strings.Builder
	for _, line := range missing {
		fmt.Fprintf(&b, "\n  %s", line)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attempt)
	defer cancel()
	if warnings := s.api.warnings(ctx); len(warnings) > 0 {
		fmt.Fprintf(&b, "\nlast warnings:\n  %s", strings.Join(warnings, "\n  "))
	}
	fmt.Fprintf(&b, "\nconsoles: %s", s.ConsoleLog("*"))
	return fmt.Errorf("%w:%s", ErrNotReady, b.String())
}

// applyAddOns puts the add-ons in place at every start: the bootstrap token in
// them lives for a day only. A newer kios has newer ones; of those the nodes'
// disks have no images.
func (s *start) applyAddOns(ctx context.Context) error {
	manifest, err := s.keys.AddOns()
	if newer := clusterconfig.AddOnVersions(); newer != s.AddOns {
		s.observer.Note("the add-ons stay as they are; a new cluster would have %s", newer)
		manifest, err = s.keys.Access()
	}
	if err != nil {
		return err
	}
	if err := s.write("addons.yaml", manifest); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", s.path("addons.yaml")); err != nil {
		return fmt.Errorf("apply the add-ons: %w", err)
	}
	s.observer.Note("the add-ons are applied")
	// Pods that the last stop of their nodes has ended: they were replaced.
	return s.kubectl(ctx, "delete", "pods", "--namespace", system, "--field-selector", "status.phase=Failed", "--wait=false")
}

// tries is how often kubectl may fail at a server that has just become ready.
const tries = 5

func (s *start) kubectl(ctx context.Context, args ...string) error {
	for try := 1; ; try++ {
		cmd := hosttool.Exec(ctx, s.products.Kubectl, append([]string{"--kubeconfig", s.Kubeconfig()}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECTL_KUBERC=false") // its user's preferences are not for us
		said, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("kubectl %s: %w: %s", args[0], err, strings.TrimSpace(string(said)))
		if try == tries {
			return err
		}
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return s.late(ctx, []string{err.Error()})
		}
	}
}
