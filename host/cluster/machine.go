package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/host/diskimage"
	"kios/host/qemu"
	"kios/internal/wholefile"
)

// Products are what the build has made.
type Products struct {
	Kubectl string                  // for this host, whatever the nodes are
	Nodes   map[string]NodeProducts // by architecture
}

// NodeProducts are what nodes of an architecture need.
type NodeProducts struct {
	EFI                     string   // kios.efi
	Kernel, Initrd, Cmdline string   // for a direct boot
	ControlPlane, Worker    []string // archives of images
}

// Accels say by architecture what executes the instructions of its machines.
type Accels map[string]qemu.Accel

func (a Accels) of(n Node) qemu.Accel { return a[n.Arch] }

// Emulated reports whether QEMU emulates any of the machines.
func (a Accels) Emulated() bool {
	for _, accel := range a {
		if accel == qemu.TCG {
			return true
		}
	}
	return false
}

// Probe finds out what executes the instructions of the cluster's machines.
func (c *Cluster) Probe(ctx context.Context, p Products) (Accels, error) {
	found := Accels{}
	for _, a := range c.Archs() {
		accel, err := qemu.Probe(ctx, a, p.Nodes[a.Name].Kernel)
		if err != nil {
			return nil, err
		}
		found[a.Name] = accel
	}
	return found, nil
}

// BestAccels are the fastest that Probe can find.
func (c *Cluster) BestAccels() Accels {
	best := Accels{}
	for _, a := range c.Archs() {
		best[a.Name] = qemu.TCG
		if qemu.MayUseKVM(a) {
			best[a.Name] = qemu.KVM
		}
	}
	return best
}

const (
	diskSize = 16 << 30 // sparse

	// overhead is what QEMU needs besides the guest's memory and what it has
	// translated.
	overhead = 96 << 20
)

// codeCache is room for what QEMU translates (see Config.CodeCache). QEMU empties
// a full one and translates everything again: with 256 MiB, a control plane did
// that five times before its API server was ready.
func (n Node) codeCache() int64 {
	if n.controlPlane() {
		return 1 << 30
	}
	return 512 << 20
}

// CheckMemory finds out whether the host has room for all machines. None of them
// runs yet.
func (c *Cluster) CheckMemory(accels Accels) error {
	free := qemu.MemAvailable()
	if want := c.need(accels); free > 0 && want > free {
		return fmt.Errorf("cluster %s needs %s of memory, and the host has %s available; stop other programs, or ask for less with --memory, --control-plane-memory and --workers",
			c.Name, diskimage.FormatSize(want), diskimage.FormatSize(free))
	}
	return nil
}

// firstNeed is what a node's disk takes of the host's at first, generously: images and
// what they are unpacked to.
const firstNeed = 2 << 30

// CheckSpace finds out whether the host's disk has room for nodes that have none yet.
func (c *Cluster) CheckSpace() error {
	var st unix.Statfs_t
	if err := unix.Statfs(c.Dir, &st); err != nil {
		return nil // it is made later, and then says so itself
	}
	var want int64
	for _, n := range c.Nodes {
		if _, err := os.Stat(c.disk(n)); err != nil {
			want += firstNeed
		}
	}
	if free := int64(st.Bavail) * st.Bsize; want > free {
		return fmt.Errorf("cluster %s needs %s of disk space at first, and %s has %s; free some, or move the cache with XDG_CACHE_HOME", c.Name, diskimage.FormatSize(want), c.Dir, diskimage.FormatSize(free))
	}
	return nil
}

// need is what all machines of the cluster may take of the host's memory.
func (c *Cluster) need(accels Accels) int64 {
	var sum int64
	for _, n := range c.Nodes {
		sum += c.memory(n) + overhead
		if accels.of(n) == qemu.TCG {
			sum += n.codeCache()
		}
	}
	return sum
}

func (c *Cluster) memory(n Node) int64 {
	if n.controlPlane() {
		return c.ControlPlaneMemory
	}
	return c.Memory
}

// cpus is how many processors a node gets on a host with so many. If there are
// fewer than the emulated ones, these wait for each other: a lock's owner does not
// run while its other processor spins for the lock. So workers then have but one.
func (c *Cluster) cpus(n Node, accel qemu.Accel, host int) int {
	const usual = 2
	switch {
	case c.CPUs != 0:
		return c.CPUs
	case accel == qemu.TCG && !n.controlPlane() && host < usual*len(c.Nodes):
		return 1
	}
	return usual
}

func (c *Cluster) disk(n Node) string { return filepath.Join(c.NodeDir(n.Name), "disk.img") }

// HasDisks reports whether all nodes have been made.
func (c *Cluster) HasDisks() bool {
	for _, n := range c.Nodes {
		if _, err := os.Stat(c.disk(n)); err != nil {
			return false
		}
	}
	return true
}

// bootFile is a file of a direct boot of machines of an architecture.
func (c *Cluster) bootFile(of, name string) string { return c.path(filepath.Join(bootDir, of, name)) }

// copyBoot copies what the machines boot, so that a later build does not change it
// while they run.
func (c *Cluster) copyBoot(p Products) error {
	if c.Firmware != "direct" {
		return nil
	}
	for _, a := range c.Archs() {
		if err := c.copyBootOf(a, p.Nodes[a.Name]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) copyBootOf(a arch.Arch, p NodeProducts) error {
	if err := os.MkdirAll(c.bootFile(a.Name, ""), 0o700); err != nil {
		return err
	}
	for name, from := range map[string]string{"vmlinuz": p.Kernel, "initrd": p.Initrd, "cmdline": p.Cmdline} {
		data, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("%w (make it with kios build%s)", err, a.Flag())
		}
		if err := wholefile.Durable(c.bootFile(a.Name, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk makes a node's disk unless it is there.
func (c *Cluster) makeDisk(ctx context.Context, n Node, keys *clusterconfig.Cluster, p Products) error {
	out := c.disk(n)
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A start that was killed leaves half a disk.
	if err := errors.Join(os.RemoveAll(c.NodeDir(n.Name)), os.MkdirAll(c.NodeDir(n.Name), 0o700)); err != nil {
		return err
	}
	own := p.Nodes[n.Arch]
	files, images, err := c.nodeFiles(n, keys, own)
	if err != nil {
		return err
	}
	return diskimage.Create(ctx, diskimage.Options{
		EFI:   own.EFI,
		Arch:  n.architecture(),
		OCI:   images,
		Extra: files,
		Size:  diskSize,
		Out:   out,
	})
}

// nodeFiles are what makes a machine this node of the cluster. One that is alone
// with the control plane runs all pods.
func (c *Cluster) nodeFiles(n Node, keys *clusterconfig.Cluster, p NodeProducts) (map[string]diskimage.File, []string, error) {
	make, images := keys.Worker, p.Worker
	if n.controlPlane() {
		make, images = keys.ControlPlane, p.ControlPlane
	}
	etc, err := make(clusterconfig.Node{Name: n.Name, Address: n.Address.String(), Alone: len(c.Nodes) == 1})
	if err != nil {
		return nil, nil, fmt.Errorf("files of node %s: %w", n.Name, err)
	}
	files := map[string]diskimage.File{
		"meta/etc/kios/network.yaml": {Mode: 0o644, Data: n.network()},
	}
	for _, f := range etc {
		files["meta/etc/"+f.Path] = diskimage.File{Mode: f.Mode, Data: f.Data}
	}
	return files, images, nil
}

// network is the node's /etc/kios/network.yaml. The addresses outside are those
// of QEMU's user-mode network.
func (n Node) network() []byte {
	return fmt.Appendf(nil, `interfaces:
  cluster:
    mac: %s
    addresses: [%s]
    ra: false
  outside:
    mac: %s
    addresses: [10.0.2.15/24]
    routes: [{to: default, via: 10.0.2.2}]
    dns: [10.0.2.3]
    ra: false
`, n.MAC, netip.PrefixFrom(n.Address, subnet.Bits()), qemu.UserMAC)
}

// machine describes a node's machine.
func (c *Cluster) machine(n Node, accel qemu.Accel) (qemu.Config, error) {
	dir := c.NodeDir(n.Name)
	cfg := qemu.Config{
		Arch:      n.architecture(),
		Memory:    c.memory(n),
		CPUs:      c.cpus(n, accel, runtime.NumCPU()),
		MAC:       n.MAC,
		Switch:    qemu.PortSocket(c.path("network"), n.Name),
		Disks:     []qemu.Disk{{Path: c.disk(n), Format: "raw", Unsafe: true}}, // see docs/cluster.md
		Dir:       dir,
		Accel:     accel,
		CodeCache: n.codeCache(),
	}
	if n.controlPlane() {
		cfg.Forward = []qemu.Port{{Host: c.Port, Guest: apiPort}}
	} else {
		cfg.Nice = 10 // on a busy host the workers wait, and not what they wait for
	}
	if c.Firmware != "direct" {
		return cfg, nil
	}
	err := cfg.BootDirectly(c.bootFile(n.Arch, "vmlinuz"), c.bootFile(n.Arch, "initrd"), c.bootFile(n.Arch, "cmdline"))
	// PID 1 tells its console of pods and images during the first minute only,
	// and after that the kernel's log, at this level. Here they are watched for.
	cfg.Append += " loglevel=7"
	return cfg, err
}
