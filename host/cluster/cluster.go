// Package cluster is a Kubernetes cluster whose nodes are virtual machines of
// this host: one with the control plane, and workers, on a network of their own
// that takes no root. They may be of several architectures. The machines outlive
// the command that started them, and all that is known of a cluster is in its
// directory, which only its owner can enter:
//
//	cluster.json   what the cluster is like
//	lock           held by the command that starts or stops it
//	keys/          the cluster's keys (package clusterconfig)
//	kubeconfig     the administrator's, for this host
//	addons.yaml    the manifests that were applied last
//	boot/ARCH/     kernel, initrd and command line, for a direct boot
//	network/       the switch (package qemu)
//	nodes/NAME/    a machine's disk, console, monitor, ...
//
// Package clusterconfig knows what a cluster of kiOS consists of, package qemu how
// to boot a machine, and the command how things are built and shown to a person.
package cluster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/host/qemu"
	"kios/internal/rfc1123"
	"kios/internal/wholefile"
)

// The network of a cluster. Each has one of its own, so that they can be alike.
var (
	subnet = netip.MustParsePrefix("10.77.0.0/24")
	first  = netip.MustParseAddr("10.77.0.10")
)

const (
	apiPort = 6443

	// MaxWorkers is far beyond what a host can bear under emulation.
	MaxWorkers = 32
)

// State is what is kept of a cluster.
type State struct {
	Kubernetes         string `json:"kubernetes"` // its version, such as "v1.37.2"
	Firmware           string `json:"firmware"`   // "direct" or "uefi"
	Memory             int64  `json:"memory"`     // bytes, of a worker
	ControlPlaneMemory int64  `json:"controlPlaneMemory"`
	CPUs               int    `json:"cpus"`   // of each node; 0: see Cluster.cpus
	Port               int    `json:"port"`   // of the API server, on this host's loopback interface
	AddOns             string `json:"addOns"` // versions of what the nodes' disks have images of
	Nodes              []Node `json:"nodes"`
}

// Node is one machine.
type Node struct {
	Name    string     `json:"name"`
	Arch    string     `json:"arch"` // its name in package arch
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
}

// ControlPlane is the name of the node with the control plane.
const ControlPlane = "control-plane"

func (n Node) controlPlane() bool { return n.Name == ControlPlane }

// architecture is that of the machine. Whoever made the node had it from its name.
func (n Node) architecture() arch.Arch {
	a, _ := arch.Find(n.Arch)
	return a
}

// newNode is the node with number i: 0 is the control plane, others are workers.
func newNode(i int, a arch.Arch) Node {
	octets := first.As4()
	octets[3] += byte(i)
	n := Node{Name: ControlPlane, Arch: a.Name, Address: netip.AddrFrom4(octets)}
	if i > 0 {
		n.Name = fmt.Sprintf("worker-%d", i)
	}
	n.MAC = fmt.Sprintf("52:54:00:4b:4d:%02x", octets[3])
	return n
}

// Cluster is a cluster that may run or not.
type Cluster struct {
	Name string
	Dir  string
	State
	found []byte // cluster.json as it was when the cluster was opened
}

var (
	// ErrNone says that there is no cluster of a name.
	ErrNone = errors.New("no such cluster")
	// ErrBusy says that another process starts or stops the cluster, or has done
	// so since this one looked.
	ErrBusy = errors.New("another kios is starting or stopping it; try again when that one has finished")
)

const maxName = 32

// Root is the directory of all clusters' directories.
func Root() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kios/cluster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for clusters: %w (set XDG_STATE_HOME)", err)
	}
	return filepath.Join(home, ".local/state/kios/cluster"), nil
}

// Open returns the cluster of a name, or ErrNone.
func Open(name string) (*Cluster, error) {
	c, err := locate(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(c.path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s: %w (create it with kios cluster up)", name, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	if err := c.decode(data); err != nil {
		return nil, fmt.Errorf("read %s: %w (kios cluster down --purge removes the cluster)", c.path(stateFile), err)
	}
	c.found = data
	return c, nil
}

// decode reads the state. Each cluster has at least the node that comes first.
func (c *Cluster) decode(data []byte) error {
	if err := json.Unmarshal(data, &c.State); err != nil {
		return err
	}
	if len(c.Nodes) == 0 || !c.Nodes[0].controlPlane() {
		return errors.New("it has no node for the control plane")
	}
	for i, n := range c.Nodes {
		// The first clusters had machines like their host only, and did not say so.
		c.Nodes[i].Arch = cmp.Or(n.Arch, arch.Host().Name)
		if _, err := arch.Find(c.Nodes[i].Arch); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// Remains returns what is left of a cluster that cannot be opened, or ErrNone: its
// directory, with the machines that are in there, to be stopped and removed.
func Remains(name string) (*Cluster, error) {
	c, err := locate(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.Dir); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, ErrNone)
	}
	c.Nodes = []Node{newNode(0, arch.Arch{})}
	for i := 1; i <= MaxWorkers; i++ {
		n := newNode(i, arch.Arch{}) // to be stopped, it need not be known
		if _, err := os.Stat(c.NodeDir(n.Name)); err == nil {
			c.Nodes = append(c.Nodes, n)
		}
	}
	return c, nil
}

func locate(name string) (*Cluster, error) {
	if len(name) > maxName || !rfc1123.IsLabel(name) {
		return nil, fmt.Errorf("%q is not a valid name for a cluster: use up to %d lower-case letters, digits and hyphens", name, maxName)
	}
	root, err := Root()
	if err != nil {
		return nil, err
	}
	return &Cluster{Name: name, Dir: filepath.Join(root, name)}, nil
}

// New returns a cluster that is not there yet, without workers and with a control plane of
// an architecture. Nothing is written until Up.
func New(name string, s State, a arch.Arch) (*Cluster, error) {
	c, err := locate(name)
	if err != nil {
		return nil, err
	}
	c.State = s
	c.AddOns = clusterconfig.AddOnVersions()
	c.Nodes = []Node{newNode(0, a)}
	return c, nil
}

// AddWorkers gives the cluster this many workers, new ones of an architecture. It can grow
// only.
func (c *Cluster) AddWorkers(workers int, a arch.Arch) error {
	have := len(c.Nodes) - 1
	switch {
	case workers < 0 || workers > MaxWorkers:
		return fmt.Errorf("%d workers: the number must be from 0 to %d", workers, MaxWorkers)
	case workers < have:
		return fmt.Errorf("cluster %s has %d workers, and their number cannot become smaller; to have fewer, remove the cluster with kios cluster down --purge and create it again", c.Name, have)
	}
	for i := len(c.Nodes); i <= workers; i++ {
		c.Nodes = append(c.Nodes, newNode(i, a))
	}
	return nil
}

// Archs are the architectures of the nodes, that of the control plane first.
func (c *Cluster) Archs() (all []arch.Arch) {
	for _, n := range c.Nodes {
		if !slices.ContainsFunc(all, func(a arch.Arch) bool { return a.Name == n.Arch }) {
			all = append(all, n.architecture())
		}
	}
	return all
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// Kubeconfig is the file for kubectl on this host.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// Server is the API server's URL on this host.
func (c *Cluster) Server() string { return fmt.Sprintf("https://127.0.0.1:%d", c.Port) }

// NodeDir is the directory of a node's machine.
func (c *Cluster) NodeDir(name string) string { return c.path("nodes/" + name) }

// ConsoleLog is the file with a node's console.
func (c *Cluster) ConsoleLog(name string) string {
	return filepath.Join(c.NodeDir(name), "console.log")
}

// Node finds a node by its name.
func (c *Cluster) Node(name string) (Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("cluster %s has no node %q; its nodes are %s", c.Name, name, c.nodeNames())
}

func (c *Cluster) nodeNames() string {
	text := ""
	for i, n := range c.Nodes {
		if i > 0 {
			text += ", "
		}
		text += n.Name
	}
	return text
}

// Machine returns a node's running machine, or qemu.ErrNotRunning.
func (c *Cluster) Machine(name string) (*qemu.Detached, error) { return qemu.Attach(c.NodeDir(name)) }

// Switch returns the running network, or qemu.ErrNotRunning. Its ports have
// the nodes' names.
func (c *Cluster) Switch() (*qemu.Switch, error) { return qemu.AttachSwitch(c.path("network")) }

// Running says which machines run.
func (c *Cluster) Running() (names []string) {
	for _, n := range c.Nodes {
		if m, err := c.Machine(n.Name); err == nil {
			m.Close()
			names = append(names, n.Name)
		}
	}
	return names
}

// keys opens, or makes, what the cluster proves itself with. The way in which the control
// plane's machine works decides for how long it waits for others.
func (c *Cluster) keys(accel qemu.Accel) (*clusterconfig.Cluster, error) {
	return clusterconfig.Open(c.path("keys"), clusterconfig.Config{
		Name:       c.Name,
		Kubernetes: c.Kubernetes,
		Endpoint:   netip.AddrPortFrom(c.Nodes[0].Address, apiPort).String(),
		Emulated:   accel == qemu.TCG,
	})
}

// save writes the state.
func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c.State, "", "  ")
	if err != nil {
		return err
	}
	return c.write(stateFile, append(data, '\n'))
}

// write writes a file of the cluster's directory, for its owner alone.
func (c *Cluster) write(name string, data []byte) error {
	return wholefile.Durable(c.path(name), data, 0o600)
}

// makeDirs makes the directories. The first one keeps others out.
func (c *Cluster) makeDirs() error {
	for _, dir := range []string{"", bootDir, "network", "nodes"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return err
		}
	}
	return os.Chmod(c.Dir, 0o700)
}

// lock keeps two commands from starting and stopping the cluster at once. The
// kernel releases it when the process ends.
func (c *Cluster) lock() (unlock func(), err error) {
	f, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cluster %s: %w", c.Name, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("cluster %s: %w", c.Name, ErrBusy)
	}
	return func() { f.Close() }, nil
}

// checkUnchanged is called with the lock. Another process may have made or
// changed the cluster since this one opened it.
func (c *Cluster) checkUnchanged() error {
	data, err := os.ReadFile(c.path(stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(data, c.found) {
		return fmt.Errorf("cluster %s: %w", c.Name, ErrBusy)
	}
	return nil
}

// Names lists the clusters of this user.
func Names() ([]string, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, "*", stateFile))
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = filepath.Base(filepath.Dir(file))
	}
	return names, err
}
