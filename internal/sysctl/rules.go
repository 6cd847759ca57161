package sysctl

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Rules keep a user's settings from making the node unusable: there would be no way
// in to take them back.
type Rules struct {
	fixed    map[string]string // parameters that stay as they are, and why
	floors   map[string]uint64 // what a number must be at least
	off      map[string]bool   // where 0 is allowed all the same: it turns something off
	ceilings map[string]uint64 // and at most
}

// kubelets are the parameters that the kubelet demands to be as they are
// (protectKernelDefaults).
var kubelets = []string{
	"vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops",
	"kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes",
}

// NewRules returns the rules for a machine with that memory, in bytes. With 0 there are
// none that depend on it.
func NewRules(memory uint64) Rules {
	r := Rules{
		fixed: map[string]string{
			"kernel.modprobe":         "init loads the kernel's modules",
			"kernel.modules_disabled": "drivers are loaded as long as the node runs",
			"kernel.printk_devkmsg":   "init reports by way of the kernel's log",
		},
		// With less, Go programs and containers do not start. The numbers are what the
		// kernel has on small machines.
		floors: map[string]uint64{
			"vm.max_map_count":              65530,
			"fs.inotify.max_user_instances": 128,
			"fs.inotify.max_user_watches":   8192,
			"user.max_inotify_instances":    128,
			"user.max_inotify_watches":      8192,
			"fs.epoll.max_user_watches":     65536,
			"fs.file-max":                   65536,
			"fs.nr_open":                    1 << 20, // the limit of open files of all processes
			"fs.mount-max":                  10000,
			"kernel.pid_max":                32768,
			"kernel.threads-max":            4096,
			"kernel.watchdog_thresh":        10, // less is what a hypervisor takes away
			"kernel.hung_task_timeout_secs": 30,
			"user.max_cgroup_namespaces":    1024,
			"user.max_ipc_namespaces":       1024,
			"user.max_mnt_namespaces":       1024,
			"user.max_net_namespaces":       1024,
			"user.max_pid_namespaces":       1024,
			"user.max_uts_namespaces":       1024,
		},
		off: map[string]bool{"kernel.watchdog_thresh": true, "kernel.hung_task_timeout_secs": true},
		ceilings: map[string]uint64{
			"vm.mmap_min_addr": 1 << 20, // programs begin at 4 MiB
		},
	}
	for _, key := range kubelets {
		r.fixed[key] = "the kubelet does not start with another value"
	}
	if memory == 0 {
		return r
	}
	r.ceilings["vm.min_free_kbytes"] = memory / 8 >> 10
	// Huge pages are taken away from everything else, now.
	rest := max(memory/4, 512<<20)
	pages := (max(memory, rest) - rest) / hugePageSize()
	r.ceilings["vm.nr_hugepages"], r.ceilings["vm.nr_hugepages_mempolicy"] = pages, pages
	return r
}

// hugePageSize returns the default size of huge pages in bytes.
func hugePageSize() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	_, rest, _ := strings.Cut(string(text), "Hugepagesize:")
	fields := strings.Fields(rest)
	if len(fields) > 0 {
		if kib, err := strconv.ParseUint(fields[0], 10, 32); err == nil && kib > 0 {
			return kib << 10
		}
	}
	return 2 << 20
}

// check refuses a value, with the reason.
func (r Rules) check(key, value string) error {
	if why, fixed := r.fixed[key]; fixed && value != nodeValue(key) {
		return errors.New(why)
	}
	if key == "kernel.core_pattern" && strings.HasPrefix(value, "|") {
		return errors.New("there is no program on the node that could take a core dump; name a file")
	}
	number, err := strconv.ParseUint(value, 0, 64)
	if floor, bound := r.floors[key]; bound && (err != nil || number < floor && !(number == 0 && r.off[key])) {
		return fmt.Errorf("the node needs at least %d", floor)
	}
	if ceiling, bound := r.ceilings[key]; bound && (err != nil || number > ceiling) {
		return fmt.Errorf("the node needs the memory: at most %d", ceiling)
	}
	return nil
}

// nodeValue returns the value of a parameter in the table of the node, or "".
func nodeValue(key string) string {
	for _, s := range Node {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
