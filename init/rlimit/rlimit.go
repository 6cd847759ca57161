// Package rlimit sets the resource limits (getrlimit(2)) of PID 1, which all processes
// of the node inherit: containerd and what is in containers, the kubelet, and pods'
// sandboxes. The kernel's own are those of a small machine of long ago.
package rlimit

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The limits of open files. The lower one is what programs that use select(2)
// survive. Those that need more raise it as far as the upper one, without a privilege.
// The kernel has no more to give than that (fs.nr_open).
const (
	softFiles = 1024
	hardFiles = 1 << 20
)

// limits are those that differ from the kernel's.
var limits = []struct {
	resource int
	name     string
	value    unix.Rlimit
}{
	{unix.RLIMIT_NOFILE, "open files", unix.Rlimit{Cur: softFiles, Max: hardFiles}},
	// Users are no border between pods: many have the same one. What a pod may have
	// is bounded by its cgroup (pids.max).
	{unix.RLIMIT_NPROC, "processes of a user", unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
	// Whether there are core dumps is up to kernel.core_pattern.
	{unix.RLIMIT_CORE, "size of a core dump", unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
}

// Set sets the limits of this process. It is for stage 1: a Go program raises its own
// lower limit of open files when it starts, and gives its children the one that it
// found then (see the init of package syscall). So stage 2 may open as many files as
// it takes to hold each container of a big node, and its daemons have both limits.
func Set() error {
	var errs []error
	for _, l := range limits {
		if err := unix.Prlimit(0, l.resource, &l.value, nil); err != nil {
			errs = append(errs, fmt.Errorf("set the limit of %s: %w", l.name, err))
		}
	}
	return errors.Join(errs...)
}

// ownGroup is a group that no process has.
const ownGroup = 1<<31 - 7

// Protect keeps other processes from setting the limits of this one: with a limit of
// processor time the kernel would kill PID 1. Any process of the same user and group
// may do that, without a capability, unless one of the target's three groups is
// another one (see prlimit(2)). The saved group is used for nothing else, and programs
// that are started do not inherit it.
func Protect() error {
	if err := unix.Setresgid(-1, -1, ownGroup); err != nil {
		return fmt.Errorf("set the saved group: %w", err)
	}
	return nil
}
