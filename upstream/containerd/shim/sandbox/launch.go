package sandbox

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// launch is one start of a process: a thread of ours becomes what the process
// is to be, starts it and ends.
type launch struct {
	spec   *specs.Spec
	rootfs string
	cgroup int // descriptor

	pid, pidfd int
}

// onThread calls f on a thread that ends with it, so that f may change the
// thread's namespaces and root.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		// The first thread would live on, changed, and be what /proc shows of
		// this process. While it is held here, f gets another.
		result <- onThread(f)
		runtime.UnlockOSThread()
	}()
	return <-result
}

func (l *launch) run() error {
	if err := l.enterNamespaces(); err != nil {
		return err
	}
	if err := l.setSysctls(); err != nil {
		return err
	}
	if err := enterRoot(l.rootfs); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return l.start()
}

// enterNamespaces joins the network that containerd has made and makes the
// others. A PID namespace is entered by children only; see start.
func (l *launch) enterNamespaces() error {
	if net := path(l.spec, specs.NetworkNamespace); net != nil {
		if err := join(*net, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("join the network namespace %s: %w", *net, err)
		}
	}
	flags := unix.CLONE_NEWNS
	if has(l.spec, specs.IPCNamespace) {
		flags |= unix.CLONE_NEWIPC
	}
	if has(l.spec, specs.UTSNamespace) {
		flags |= unix.CLONE_NEWUTS
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if flags&unix.CLONE_NEWUTS != 0 && l.spec.Hostname != "" {
		if err := unix.Sethostname([]byte(l.spec.Hostname)); err != nil {
			return fmt.Errorf("set the host name: %w", err)
		}
	}
	return nil
}

func join(path string, kind int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), kind)
}

// setSysctls sets those of the network: /proc/sys/net is that of the thread.
func (l *launch) setSysctls() error {
	for name, value := range l.spec.Linux.Sysctl {
		file := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// enterRoot makes rootfs the root of the mount namespace, and the only mount in
// it: a process that is changed into another root only could be used as a way
// out of it, through /proc/PID/root.
func enterRoot(rootfs string) error {
	const hardened = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	for _, step := range []struct {
		name string
		err  func() error
	}{
		// First of all: what follows must not reach the host's mounts.
		{"keep mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"bind the root", func() error { return unix.Mount(rootfs, rootfs, "", unix.MS_BIND, "") }},
		{"make the root read-only", func() error { return unix.Mount("", rootfs, "", hardened, "") }},
		{"enter the root", func() error { return unix.Chdir(rootfs) }},
		// Stacks the old root on the new one, see pivot_root(2).
		{"change the root", func() error { return unix.PivotRoot(".", ".") }},
		{"leave the old root", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"enter the root again", func() error { return unix.Chdir("/") }},
	} {
		if err := step.err(); err != nil {
			return fmt.Errorf("%s %s: %w", step.name, rootfs, err)
		}
	}
	return nil
}

// start starts the process from this thread, whose namespaces, root and
// no_new_privs it inherits. It inherits no file, not even /dev/null: that is the
// host's, and /proc/PID/fd leads to it.
func (l *launch) start() error {
	// The shim's own socket came to it without this flag.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep files from the sandbox: %w", err)
	}
	sys := &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: user, Gid: user},
		Setsid:      true,
		UseCgroupFD: true, // born there: to be moved costs an RCU grace period
		CgroupFD:    l.cgroup,
		PidFD:       &l.pidfd,
	}
	if has(l.spec, specs.PIDNamespace) {
		sys.Cloneflags = unix.CLONE_NEWPID
	}
	argv := l.spec.Process.Args
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Sys: sys,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	l.pid = pid
	return nil
}
