// Package sysctl sets kernel parameters, by way of /proc/sys (see
// Documentation/admin-guide/sysctl in the kernel): those of a table, and those of
// the user's files in /etc/sysctl.d (see sysctl.d(5)).
package sysctl

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Setting is one parameter, its value, and who needs it.
type Setting struct {
	Key   string // as sysctl(8) takes it; * stands for any one name
	Value string
	Why   string
}

// Node are the settings of a Kubernetes node.
var Node = []Setting{
	{"net.ipv4.ip_forward", "1", "pods are reached through the node"},
	{"net.ipv6.conf.all.forwarding", "1", "the same for IPv6"},
	// accept_ra is not here: the pod network sets it for physical interfaces only.
	// As a default it would also hold for the node's end of each pod's link, and
	// any pod could make itself the node's router.
	{"net.ipv4.conf.all.promote_secondaries", "1", "the end of an address does not take along the others of its subnet"},
	{"net.ipv4.conf.default.promote_secondaries", "1", "as above"},
	// As the kernel writes it, so that it is set once. containerd's port for streams is an
	// ephemeral one, and so are those of pods in the node's network.
	{"net.ipv4.ip_local_reserved_ports", "2703,9808-9809,10249-10250,10256,61678-61679", "ports of the kubelet, kube-proxy and EKS's network plugin are not given to connections and servers that take any"},

	{"net.bridge.bridge-nf-call-iptables", "1", "service addresses work between pods on one bridge; only with br_netfilter"},
	{"net.bridge.bridge-nf-call-ip6tables", "1", "the same for IPv6"},

	{"vm.overcommit_memory", "1", "the kubelet's protectKernelDefaults: memory is limited by cgroups, not by promises"},
	{"vm.panic_on_oom", "0", "the kubelet's protectKernelDefaults: kill a process, not the node"},
	{"kernel.panic", "10", "the kubelet's protectKernelDefaults: restart ten seconds after a panic"},
	{"kernel.panic_on_oops", "1", "the kubelet's protectKernelDefaults: after an oops nothing can be trusted"},
	{"kernel.keys.root_maxkeys", "1000000", "the kubelet's protectKernelDefaults: a key ring for each container"},
	{"kernel.keys.root_maxbytes", "25000000", "the kubelet's protectKernelDefaults: 25 bytes for each key"},

	{"vm.max_map_count", "262144", "databases and search engines in pods refuse to start with less"},
	{"fs.inotify.max_user_instances", "8192", "kubelet, containerd and many pods of one user each want several"},
	{"fs.inotify.max_user_watches", "524288", "log collectors watch every log of the node"},
	{"kernel.pid_max", "4194304", "32,768 processes are few for a node with hundreds of pods"},

	{"fs.file-max", "9223372036854775807", "open files are memory, which cgroups limit; the kernel's limit is one for all pods together"},

	{"kernel.watchdog_thresh", "60", "a processor that does nothing else for twice as many seconds is locked up; the most that the kernel takes. See Lockups"},
	{"kernel.hung_task_panic", "0", "a server or a disk of one pod that is gone hangs its programs, and must not end all other pods; PID 1 restarts the machine if one of its daemons hangs so"},

	{"kernel.modprobe", "/bin/modprobe", "the kernel's default, /sbin/modprobe, goes through a link"},
	{"kernel.core_pattern", "", "no core dumps: they would fill the disk with secrets"},
	{"kernel.dmesg_restrict", "1", "kernel addresses and hardware are no business of pods"},
	{"kernel.kptr_restrict", "2", "as above"},
	{"kernel.unprivileged_bpf_disabled", "1", "BPF programs are for pods with CAP_BPF; cannot be undone"},
	// Not 2, which also blinds the programs of those with CAP_BPF: network plugins built
	// on BPF lose speed, and some of their programs are refused (projectcalico/calico#11015).
	{"net.core.bpf_jit_harden", "1", "BPF programs of processes without CAP_BPF cannot choose the machine code that they become"},
	// Not 2, which keeps programs from tracing their children, unless they have
	// CAP_SYS_PTRACE: debuggers, strace, crash handlers and leak checkers in pods
	// work as they do elsewhere. A pod sees its own processes only.
	{"kernel.yama.ptrace_scope", "1", "a process traces only its children"},
	{"kernel.perf_event_paranoid", "3", "no profiling without CAP_PERFMON; kernels without Debian's 3 take it for 2"},
	{"vm.mmap_min_addr", "65536", "a null pointer of the kernel leads nowhere that a pod can fill"},
	{"fs.protected_symlinks", "1", "links in directories that all may write to are a way into other users' files"},
	{"fs.protected_hardlinks", "1", "as above"},
	{"fs.protected_fifos", "2", "as above"},
	{"fs.protected_regular", "2", "as above"},
	{"fs.suid_dumpable", "0", "no memory images of programs that changed their user"},
	// user.max_user_namespaces stays as it is: pods with hostUsers: false and builders of
	// images need user namespaces. The default seccomp profile keeps others from
	// making any.
}

// Lockups returns the settings that restart a machine whose kernel is locked up. In a
// virtual machine there are none: its clock may go on while it does not run, and the
// kernel takes that for a lockup when it does again. Hosts that suspend it, move it or
// have too much to do are many, and not all of them tell the guest. There it is a line in
// the kernel's log.
func Lockups(virtual bool) []Setting {
	if virtual {
		return nil
	}
	return []Setting{
		{"kernel.softlockup_panic", "1", "a kernel that is locked up restarts: nobody is there to do it"},
		{"kernel.hardlockup_panic", "1", "as above"},
	}
}

// MinFree returns the setting of vm.min_free_kbytes for a machine with the given
// bytes of memory. It is what the kernel itself computes, the square root of 16
// times the KiB. Later khugepaged raises that to 45 MB and more on every machine,
// which is a twentieth of a machine of 1 GiB; pods can use it better. For machines
// of 16 GiB and more it returns nil: they keep the kernel's choice.
func MinFree(memory uint64) []Setting {
	if memory >= 16<<30 {
		return nil
	}
	kib := max(4096, uint64(math.Sqrt(float64(16*memory>>10))))
	return []Setting{{"vm.min_free_kbytes", strconv.FormatUint(kib, 10), "khugepaged reserves too much on small machines"}}
}

// Without returns the settings without the one of the given key.
func Without(settings []Setting, key string) []Setting {
	var left []Setting
	for _, s := range settings {
		if s.Key != key {
			left = append(left, s)
		}
	}
	return left
}

// Apply sets each parameter below root, "/proc/sys". It returns the names of those
// that the kernel lacks, and an error for each that could not be set.
func Apply(root string, settings []Setting) (missing []string, errs []error) {
	for _, s := range settings {
		err := s.apply(root)
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, s.Key)
		case err != nil:
			errs = append(errs, fmt.Errorf("set %s to %q: %w", s.Key, s.Value, err))
		}
	}
	return missing, errs
}

func (s Setting) apply(root string) error {
	pattern := filepath.Join(root, strings.ReplaceAll(s.Key, ".", "/"))
	files := []string{pattern}
	if strings.Contains(s.Key, "*") {
		files, _ = filepath.Glob(pattern)
	}
	for _, file := range files {
		if err := set(file, s.Value); err != nil {
			return err
		}
	}
	return nil
}

// set writes only what changes: some parameters cost a pass over all CPUs or
// interfaces with each write.
func set(file, value string) error {
	now, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value + "\n")
	return err
}
