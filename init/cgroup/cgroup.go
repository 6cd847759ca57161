// Package cgroup lays out the first level of the cgroup hierarchy (version 2,
// see Documentation/admin-guide/cgroup-v2.rst in the kernel):
//
//	/init      PID 1
//	/runtime   containerd and the shims
//	/kubelet   the kubelet
//	/kubepods  pods; made by the kubelet
//
// Memory and CPU time are reserved for the first three, so that pods can take them
// from each other but not from what manages them. The kubelet does the same for the
// number of processes, by pids.max of /kubepods. Nothing is reserved of disks: that
// would take a model of each disk (io.cost.model), and cost throughput all the time.
//
// memory.oom.group stays 0 for all but containers, where the kubelet sets it: of
// /runtime the kernel would otherwise kill all shims, and so all pods lose theirs, when
// it wants the memory of one process.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Group is a cgroup of the first level.
type Group struct {
	Name      string
	MemoryMin uint64 // bytes that reclaim does not touch
	Weight    int    // of CPU time, where 100 is the default
}

const mib = 1 << 20

// Layout returns the groups for a machine with the given memory in bytes and
// number of CPUs.
//
// The memory is more than what the daemons need with some pods running, as measured
// (40 MB, 72 MB), but no more than a fixed share: on 256 MB pods need it too. It costs
// pods nothing that the daemons do not use. Without it the kernel, which has no swap,
// takes away their programs' pages, which they then read again and again. The weight
// grows with the number of CPUs, because that of /kubepods does (the kubelet gives
// it 39 for each). With 100 + 10 for each CPU the daemons get more than half of a
// small machine, if they need it, and each a tenth of a big one.
func Layout(memory uint64, cpus int) []Group {
	weight := min(100+10*cpus, 10000)
	return []Group{
		{Name: "init", MemoryMin: min(16*mib, memory/32), Weight: weight},
		{Name: "runtime", MemoryMin: min(64*mib, memory/8), Weight: weight},
		{Name: "kubelet", MemoryMin: min(96*mib, memory/6), Weight: weight},
	}
}

// Setup makes the groups below root, the mount point of cgroup2, and moves the
// calling process into the first. There is a warning for each controller that the
// kernel lacks.
func Setup(root string, groups []Group) (warnings []error, err error) {
	for _, g := range groups {
		if err := os.MkdirAll(filepath.Join(root, g.Name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := write(root, groups[0].Name+"/cgroup.procs", "0"); err != nil {
		return nil, err
	}
	if err := enable(root); err != nil {
		return nil, err
	}
	for _, g := range groups {
		warnings = append(warnings, g.reserve(root)...)
	}
	return warnings, nil
}

// enable turns on all controllers for the first level, in one write: each write
// costs a grace period of the kernel.
func enable(root string) error {
	list, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	names := strings.Fields(string(list))
	if len(names) == 0 {
		return errors.New("cgroup2 has no controllers: is cgroup version 1 in use?")
	}
	return write(root, "cgroup.subtree_control", "+"+strings.Join(names, " +"))
}

func (g Group) reserve(root string) (warnings []error) {
	for file, value := range map[string]uint64{"memory.min": g.MemoryMin, "cpu.weight": uint64(g.Weight)} {
		if err := write(root, filepath.Join(g.Name, file), fmt.Sprint(value)); err != nil {
			warnings = append(warnings, err)
		}
	}
	return warnings
}

// Pods counts the pods that have a cgroup below root. The kubelet makes it first of
// all, and removes it last: after the volumes, and after it has reported the end.
func Pods(root string) int {
	count := 0
	// Pods of the class Guaranteed have no directory of their class.
	for _, pattern := range []string{"kubepods/pod*", "kubepods/burstable/pod*", "kubepods/besteffort/pod*"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // the pattern is good
		count += len(found)
	}
	return count
}

func write(root, file, value string) error {
	return os.WriteFile(filepath.Join(root, file), []byte(value), 0o644)
}
