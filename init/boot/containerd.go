package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kios/init/bundle"

	"golang.org/x/sys/unix"
)

const (
	containerdName = "containerd"
	criSocket      = "/run/containerd/containerd.sock"
)

// startContainerd starts containerd with its listening socket. PID 1 keeps the
// socket, so a kubelet that connects early, or while containerd is started
// again, waits in the queue. If it were refused, it would exit.
func (n *Node) startContainerd() error {
	socket, err := listen(criSocket)
	if err != nil {
		return err
	}
	d, err := n.newDaemon(containerdName, "runtime")
	if err != nil {
		return err
	}
	d.Files = []*os.File{socket}
	t := n.tryFiles(d)
	d.Prepare = func() (argv, env []string) {
		// Shims of other runtimes are in /opt/kios/bin. CNI plugins, which containerd
		// starts, call programs such as nft, which the network's pod puts beside them.
		etc := n.nextStart(t)
		env = environment("/bin:/opt/kios/bin:/opt/cni/bin", "LISTEN_FDS=1", etcVariable+"="+etc)
		return []string{"/bin/containerd", "--config", "/usr/share/kios/containerd.toml"}, slices.Concat(env, n.userEnvironment(etc, containerdName), n.trust())
	}
	return n.startDaemon(d)
}

// listen makes a listening socket for root only. A socket of package net would be
// non-blocking, and removed when it is closed.
func listen(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	unix.Umask(old)
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (n *Node) stopContainerd() error { return stopDaemon(n.daemons.named(containerdName)) }

// stopContainers ends the containers of pods, and then their sandboxes. containerd
// still runs and records how they end.
func (n *Node) stopContainers() error {
	all, errs := bundle.List(bundle.Dir)
	containers, sandboxes := bundle.Split(all)
	bound, cut := n.containersPatience(), n.immediate.done()
	if n.immediate.isSet() {
		bound, cut = immediateBound, nil
	}
	count := bundle.Stop(containers, bound, cut, n.Log)
	bundle.Stop(sandboxes, sandboxBound, nil, n.Log)
	n.Log.Notice("containers ended: %d", count)
	return errors.Join(errs...)
}

// containersPatience is what containers have to end.
func (n *Node) containersPatience() time.Duration { return n.options.Load().StopAfter }

// killRest ends every process that is left: shims, and what escaped.
func (n *Node) killRest() error {
	unix.Kill(-1, unix.SIGTERM)
	if n.reaper.WaitAll(restBound) {
		return nil
	}
	unix.Kill(-1, unix.SIGKILL)
	if !n.reaper.WaitAll(restBound) {
		return errors.New("some processes hang in the kernel and cannot be killed")
	}
	return nil
}
