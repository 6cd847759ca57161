package boot

import (
	"fmt"
	"os"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// first is mounted before anything else: the log and the kernel's options are
// there. Stage 1 has mounted /dev already.
var first = []mount.Row{
	{Target: "/dev", Type: "devtmpfs", Source: "devtmpfs", Flags: mount.NoSuid | mount.NoExec, Data: []string{"mode=0755,size=4m"},
		Why: "device nodes"},
	{Target: "/proc", Type: "proc", Source: "proc", Flags: mount.Strict,
		Why: "everybody"},
	{Target: "/sys", Type: "sysfs", Source: "sysfs", Flags: mount.Strict,
		Why: "kubelet and runc; the data partition is found in it"},
}

// pseudo are the other file systems that the kernel makes up. tracefs and debugfs
// are not among them: nothing needs them, and they show too much.
var pseudo = []mount.Row{
	{Target: "/dev/pts", Type: "devpts", Source: "devpts", Flags: mount.NoSuid | mount.NoExec, Data: []string{"mode=0620,gid=5,ptmxmode=0666"},
		Why: "terminals of kubectl exec -t"},
	{Target: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Flags: mount.Strict, Data: []string{"mode=1777,size=10%"},
		Why: "POSIX shared memory of pods in the host's IPC namespace"},
	{Target: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Flags: mount.Strict, Optional: true,
		Why: "POSIX message queues of pods in the host's IPC namespace"},
	{Target: "/dev/hugepages", Type: "hugetlbfs", Source: "hugetlbfs", Flags: mount.Strict, Data: []string{"mode=0700"}, Optional: true,
		Why: "the kubelet counts huge pages, pods map them"},
	{Target: "/sys/kernel/security", Type: "securityfs", Source: "securityfs", Flags: mount.Strict, Optional: true,
		Why: "runc and containerd ask it for the LSMs"},
	{Target: "/sys/fs/cgroup", Type: "cgroup2", Source: "cgroup2", Flags: mount.Strict,
		// favordynmods saves a grace period whenever runc moves a process;
		// nsdelegate keeps a container's cgroup namespace a boundary;
		// memory_recursiveprot makes memory.min hold for all that is below.
		Data: []string{"favordynmods,nsdelegate,memory_recursiveprot", "nsdelegate,memory_recursiveprot", "nsdelegate", ""},
		Why:  "kubelet, runc and our own reservations"},
	{Target: "/sys/fs/bpf", Type: "bpf", Source: "bpf", Flags: mount.Strict, Data: []string{"mode=0700"}, Optional: true,
		Why: "CNI plugins pin their eBPF maps here"},
	{Target: "/sys/firmware/efi/efivars", Type: "efivarfs", Source: "efivarfs", Flags: mount.Strict | mount.RdOnly, Optional: true,
		Why: "configuration from UEFI variables; read-only, since writing can break a board"},
}

// run is skipped when stage 1 has mounted it, with the same options.
var run = mount.Row{
	Target: "/run", Type: "tmpfs", Source: "tmpfs", Flags: mount.Strict, Data: []string{"mode=0755,size=15%"},
	Why: "sockets, state of containerd and runc",
}

// tmpfs are the writable places that do not survive a boot. Their sizes, with those
// of /run and /dev/shm, are not more than the memory: see TestTmpfsFitIntoMemory.
var tmpfs = []mount.Row{
	{Target: "/tmp", Type: "tmpfs", Source: "tmpfs", Flags: mount.Strict, Data: []string{"mode=1777,size=10%"},
		Why: "containerd unpacks and the kubelet probes here"},
	{Target: "/var", Type: "tmpfs", Source: "tmpfs", Flags: mount.Strict, Data: []string{"mode=0755,size=65%"},
		Why: "images, state and what pods keep in host paths, when there is no data partition; with one it is out of sight"},
}

func (n *Node) mountDevices() error {
	for _, row := range first {
		if err := mountUnlessThere(row); err != nil {
			return err
		}
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open the kernel's log: %w", err)
	}
	n.Log.SetWriter(f)
	return nil
}

// mountUnlessThere mounts a row that an earlier stage may have mounted.
func mountUnlessThere(row mount.Row) error {
	there, err := isMountPoint(row.Target)
	if err != nil || there {
		return err
	}
	return row.Mount()
}

// isMountPoint compares devices, since /proc may not be there to ask.
func isMountPoint(path string) (bool, error) {
	var here, parent unix.Stat_t
	if err := unix.Stat(path, &here); err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	if err := unix.Stat(path+"/..", &parent); err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	return here.Dev != parent.Dev, nil
}

func (n *Node) mountPseudo() error {
	if err := mountUnlessThere(run); err != nil {
		return err
	}
	return mountAll(pseudo)
}

func mountAll(rows []mount.Row) error {
	for _, row := range rows {
		if err := row.Mount(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) mountTmpfs() error {
	if err := mountAll(tmpfs); err != nil {
		return err
	}
	return makeVar("/var")
}
