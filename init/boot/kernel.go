package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kios/init/cgroup"
	"kios/init/mount"
	"kios/internal/cmdline"

	"golang.org/x/sys/unix"
)

// readOptions reads the kernel command line, and prepares the kernel for the
// boot.
func (n *Node) readOptions() error {
	// By default the kernel drops lines when they are written fast: of a daemon's last
	// words it would let half through. It stays so after the boot; only privileged pods
	// have /dev/kmsg. This has no effect if the command line sets it.
	os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
	expedite(true)
	time.AfterFunc(expediteBound, func() { expedite(false) }) // if the boot has no end
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	options, warnings := cmdline.Parse(string(line)).Options()
	n.options.Store(&options)
	n.work.dataPart = options.DataPart
	for _, w := range warnings {
		n.Log.Error("%s", w)
	}
	return nil
}

// expediteBound is far more than a boot takes.
const expediteBound = 10 * time.Minute

// expedite makes the kernel end RCU grace periods sooner, at the expense of
// all CPUs. The start of a container waits for many (measured: 10 % of the time
// from containerd's start to the first container). It is for the boot only.
// An error does not matter: a kernel without this setting is fast enough.
func expedite(on bool) {
	value := "0"
	if on {
		value = "1"
	}
	os.WriteFile("/sys/kernel/rcu_expedited", []byte(value), 0)
}

// takeCtrlAltDel takes these keys from the kernel, which would restart the machine at
// once.
func (n *Node) takeCtrlAltDel() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("take over Ctrl-Alt-Del: %w", err)
	}
	return nil
}

func (n *Node) startReaper() error {
	n.spawn("reaper", n.reaper.Run)
	return nil
}

const cgroupRoot = "/sys/fs/cgroup"

func (n *Node) makeCgroups() error {
	warnings, err := cgroup.Setup(cgroupRoot, cgroup.Layout(n.memory, n.cpus))
	for _, w := range warnings {
		n.Log.Warn("nothing is reserved: %v", w)
	}
	if w := ratherKill("/sys"); w != nil {
		n.Log.Warn("a pod that takes all memory may slow down the node: %v", w)
	}
	return err
}

// ratherKill has the kernel end a process when it can keep the memory no more that was
// used within the last second (Documentation/admin-guide/mm/multigen_lru.rst). Without
// that it does so only when nothing is left to take away: before, every program reads
// its own pages again and again, and a node hangs for minutes. The process is one of a
// pod: see oom_score_adj of the daemons, and the kubelet's for pods.
//
// The kernel looks at one NUMA node at a time, and does not ask whether another one has
// memory: a program that is bound to one, or a cache that fills it, would have pods ended
// for nothing. A machine with several keeps the kernel's 0.
func ratherKill(sys string) error {
	if isNUMA(sys) {
		return nil
	}
	return os.WriteFile(filepath.Join(sys, "kernel/mm/lru_gen/min_ttl_ms"), []byte("1000"), 0)
}

// isNUMA reports whether several NUMA nodes have memory: whether the kernel's list of
// them is more than one number ("0-1,3").
func isNUMA(sys string) bool {
	list, _ := os.ReadFile(filepath.Join(sys, "devices/system/node/has_memory"))
	return strings.ContainsAny(string(list), "-,")
}

// loopbackUp sets IFF_UP on lo, see netdevice(7).
func (n *Node) loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read the flags of lo: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// shareMounts lets pods with Bidirectional mount propagation (CSI drivers) pass
// their mounts on to the node.
func (n *Node) shareMounts() error { return mount.Share("/") }
