package userconfig

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	"github.com/google/cadvisor/machine"
	"github.com/google/cadvisor/utils/sysfs"
	"golang.org/x/sys/unix"

	"kios/upstream/kubelet/defaults"
)

// System is what the files are checked against.
type System struct {
	// Place returns where a file of the node can be read, and false for one of which
	// nothing can be said: the checker for the host knows the files in /etc only. Nil
	// is the node itself.
	Place func(file string) (string, bool)
	// Machine returns what is known of the machine, and false if that is nothing.
	Machine func() (Machine, bool)
}

// Machine is the hardware and the kernel.
type Machine struct {
	// Info has the memory and the processors, as the kubelet sees them. Where they are on
	// NUMA nodes takes many files to find out: it is there after withTopology.
	Info *cadvisorapi.MachineInfo
	// Disk is the size of the kubelet's file system in bytes, 0 if that is not known.
	Disk uint64
	// Size is what the node's own settings depend on.
	Size defaults.Machine
	// Sysctl returns the value of a kernel parameter, and false if that is not known.
	Sysctl func(name string) (int, bool)
	// Listen fails if nobody can listen on an address. Nil if that cannot be tried.
	Listen func(address string) error
}

// Node is the node that this process runs on.
func Node() System { return System{Machine: thisMachine} }

// Host is a computer that has the files of a node in etc, laid out as /etc is, and knows
// of the machine what it is told. No memory means nothing.
func Host(etc string, memory uint64, cpus int) System {
	return System{
		Place: func(file string) (string, bool) {
			rest, ok := strings.CutPrefix(filepath.Clean(file), "/etc/")
			return filepath.Join(etc, rest), ok || strings.HasPrefix(file, "/run/")
		},
		Machine: func() (Machine, bool) {
			return Machine{
				Info: described(memory, cpus), Size: defaults.Machine{Memory: memory, CPUs: cpus},
				Sysctl: func(string) (int, bool) { return 0, false },
			}, memory != 0
		},
	}
}

// read returns a file of the node. Of a file of which nothing can be said it returns nil.
func (s System) read(file string) ([]byte, error) {
	if s.Place == nil {
		return readFile(file)
	}
	place, known := s.Place(file)
	switch {
	case !known, file == ownResolvConf:
		return nil, nil
	case strings.HasPrefix(file, "/run/"):
		return nil, fs.ErrNotExist // at a boot
	}
	return readFile(place)
}

// ownResolvConf is there on every node.
const ownResolvConf = "/etc/resolv.conf"

// writable reports why a directory cannot be made, or written. It makes none.
func (s System) writable(dir string) error {
	if s.Place != nil {
		return nil
	}
	for ; ; dir = filepath.Dir(dir) {
		var stat unix.Statfs_t
		err := unix.Statfs(dir, &stat)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			continue
		case err == nil && stat.Flags&unix.ST_RDONLY != 0:
			err = errors.New("it is on the read-only root")
		}
		return err
	}
}

// isPair checks a certificate and its key.
func (s System) isPair(certFile, keyFile string) error {
	cert, err := s.read(certFile)
	if err != nil || cert == nil {
		return err
	}
	key, err := s.read(keyFile)
	if err != nil || key == nil {
		return err
	}
	_, err = tls.X509KeyPair(cert, key)
	return err
}

// kubeletDir is where the kubelet keeps pods, and its state.
const kubeletDir = "/var/lib/kubelet"

// thisMachine asks where the kubelet asks.
func thisMachine() (Machine, bool) {
	memory, err := machine.GetMachineMemoryCapacity()
	if err != nil {
		return Machine{}, false
	}
	size, err := defaults.This(kubeletDir)
	if err != nil {
		return Machine{}, false
	}
	return Machine{
		Info:   &cadvisorapi.MachineInfo{NumCores: size.CPUs, MemoryCapacity: memory},
		Disk:   sizeOf(kubeletDir),
		Size:   size,
		Sysctl: readSysctl,
		Listen: listen,
	}, true
}

// withTopology returns the machine with its NUMA nodes and processors.
func (m Machine) withTopology() (Machine, error) {
	if len(m.Info.Topology) > 0 {
		return m, nil
	}
	nodes, cpus, err := machine.GetTopology(sysfs.NewRealSysFs())
	if err != nil {
		return m, fmt.Errorf("find the processors: %w", err)
	}
	m.Info.Topology, m.Info.NumCores = nodes, cpus
	return m, nil
}

func sizeOf(dir string) uint64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0
	}
	return stat.Blocks * uint64(stat.Frsize)
}

func readSysctl(name string) (int, bool) {
	text, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return 0, false
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return value, err == nil
}

func listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// described is a machine of which only the sizes are known: one NUMA node, and cores of
// one thread each.
func described(memory uint64, cpus int) *cadvisorapi.MachineInfo {
	node := cadvisorapi.Node{Memory: memory, Distances: []uint64{10}} // to itself, as the kernel counts
	for i := range cpus {
		node.Cores = append(node.Cores, cadvisorapi.Core{Id: i, Threads: []int{i}})
	}
	return &cadvisorapi.MachineInfo{NumCores: cpus, MemoryCapacity: memory, Topology: []cadvisorapi.Node{node}}
}
