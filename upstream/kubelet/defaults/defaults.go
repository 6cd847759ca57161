// Package defaults makes those of the kubelet's settings that depend on the machine:
// what is kept of memory, processors and threads for the node's own programs, and when
// pods have to go because of it. It writes them as a drop-in KubeletConfiguration.
//
// See docs/decisions for the figures and for those of others.
package defaults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/stats/pidlimit"

	"kios/internal/wholefile"
)

// Machine is what the settings depend on.
type Machine struct {
	Memory  uint64 // bytes
	CPUs    int
	Threads int64 // that there can be at once, 0 if that is not known
	// InMemory is the size in bytes of the file system of images and pods, if that is in
	// memory, and 0 if it is on a disk.
	InMemory uint64
}

const mib = 1 << 20

// Pods is how many pods a kubelet takes that is not told.
const Pods = 110

// This returns the machine that the process runs on, with the file system of dir.
func This(dir string) (Machine, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Machine{}, fmt.Errorf("ask for the size of memory: %w", err)
	}
	m := Machine{Memory: uint64(info.Totalram) * uint64(info.Unit), CPUs: runtime.NumCPU()}
	if stats, err := pidlimit.Stats(); err == nil && stats.MaxPID != nil {
		m.Threads = *stats.MaxPID
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
		m.InMemory = fs.Blocks * uint64(fs.Frsize)
	}
	return m, nil
}

// File is the name of the drop-in: it is read after init's, and before what the cluster
// and the user say.
const File = "15-machine.conf"

// Write writes the drop-in into dir.
func Write(dir string, m Machine) error {
	text, err := json.MarshalIndent(m.settings(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", File, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return wholefile.Volatile(filepath.Join(dir, File), text, 0o600)
}

func (m Machine) settings() map[string]any {
	kept := map[string]string{"cpu": m.cpu(), "memory": m.Reserve(Pods)}
	eviction := m.eviction()
	all := map[string]any{
		"apiVersion":   kubeletv1beta1.SchemeGroupVersion.String(),
		"kind":         "KubeletConfiguration",
		"kubeReserved": kept,
		"evictionHard": eviction,
	}
	if m.Threads != 0 {
		kept["pid"] = fmt.Sprint(m.threads())
		eviction["pid.available"] = fmt.Sprint(m.threads() * 5 / 4)
		all["podPidsLimit"] = min(4096, m.Threads/2)
	}
	if m.InMemory != 0 {
		// What images take is taken from pods, and no eviction would give it back.
		all["imageGCHighThresholdPercent"] = 30
		all["imageGCLowThresholdPercent"] = imageShare
		all["containerLogMaxFiles"] = 3 // and not five, of 10 MiB each
	}
	return all
}

// What the daemons need: so much by themselves, which is what the cgroups of init keep
// for them, and so much for each pod: its shim, its part of containerd and the kubelet,
// and what the kernel has for it.
const (
	base   = 176 * mib
	perPod = 8 * mib
)

// imageShare is the percentage of a file system in memory to which the collection of
// images brings it down.
const imageShare = 20

// Reserve returns the memory that pods cannot ask for, on a node of so many pods. A
// small machine never has as many pods as it may have, so it keeps an eighth at most.
func (m Machine) Reserve(pods int) string {
	daemons := min(m.Memory/8, base+uint64(pods)*perPod)
	return mebibytes(daemons + m.InMemory*imageShare/100)
}

// cpu is at least a tenth of a processor, and more on large machines.
func (m Machine) cpu() string {
	if m.CPUs < 2 {
		return "50m"
	}
	return fmt.Sprintf("%dm", max(100, 70+m.CPUs*5/2))
}

// threads is how many of them pods together cannot have: shims, daemons and the kernel
// need some, and PID 1 must always get one.
func (m Machine) threads() int64 { return min(m.Threads/4, 8192) }

// eviction has the kubelet's defaults, except that 100 MiB, which is what must be free
// by default, is most of a small machine.
func (m Machine) eviction() map[string]string {
	return map[string]string{
		"memory.available":   mebibytes(min(m.Memory/16, 100*mib)),
		"nodefs.available":   "10%",
		"nodefs.inodesFree":  "5%",
		"imagefs.available":  "15%",
		"imagefs.inodesFree": "5%",
	}
}

func mebibytes(n uint64) string { return fmt.Sprintf("%dMi", n/mib) }
