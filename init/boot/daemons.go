package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kios/init/bundle"
	"kios/init/kmsg"
	"kios/init/notify"
	"kios/init/supervise"
	"kios/internal/kubeletargs"
	"kios/internal/logfile"

	"golang.org/x/sys/unix"
)

const (
	notifySocket = "/run/kios/notify"
	criSocket    = "/run/containerd/containerd.sock"
	logDir       = "/var/log"
	logFiles     = 3 // of each log, the current one included
)

// Bounds of stopping.
const (
	daemonBound  = 10 * time.Second // for a daemon, before it is killed
	sandboxBound = 5 * time.Second  // for pause, which ends at once
	restBound    = 2 * time.Second  // for what is left after containerd
)

// startLogs keeps the kernel's log in a file, ours in it.
func (n *Node) startLogs() error {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("read the kernel's log: %w", err)
	}
	n.kernelLog = f
	file := n.newLog("kernel")
	n.spawn("kernel log", func() {
		if err := kmsg.Copy(file, f); !errors.Is(err, os.ErrClosed) {
			n.Log.Error("the kernel's log is not kept any more: %v", err)
		}
	})
	return nil
}

// newLog opens a log in /var/log. A log in memory is kept small.
func (n *Node) newLog(name string) *logfile.File {
	limit := int64(8 << 20)
	if !n.data.keeps() {
		limit = min(limit, max(int64(n.memory/512), 512<<10))
	}
	file := logfile.New(filepath.Join(logDir, name+".log"), limit, logFiles)
	file.Report = n.Log.Error
	if id, err := logfile.BootID(); err == nil {
		file.Boot = id // so that readers find where this boot begins
	}
	n.spawn("log of "+name, file.Run)
	n.logs = append(n.logs, file)
	return file
}

// stopLogs lets go of the data partition.
func (n *Node) stopLogs() error {
	if n.kernelLog != nil {
		n.kernelLog.Close()
	}
	for _, file := range n.logs {
		file.Close()
	}
	return nil
}

func (n *Node) listenNotify() error {
	server, err := notify.Listen(notifySocket)
	if err != nil {
		return err
	}
	n.notify = server
	server.Sender = n.daemonOf
	server.Receive = n.receive
	server.Refuse = n.Log.Info
	n.spawn("notify", server.Run)
	return nil
}

// daemonOf tells the daemons by their process numbers.
func (n *Node) daemonOf(pid int) (string, bool) {
	n.mu.Lock()
	daemons := slices.Clone(n.daemons)
	n.mu.Unlock()
	for _, d := range daemons {
		if d.Pid() == pid {
			return d.Name, true
		}
	}
	return "", false
}

// newDaemon makes what the two daemons have in common.
func (n *Node) newDaemon(name, group string) (*supervise.Daemon, error) {
	output, err := supervise.NewOutput(n.newLog(name))
	if err != nil {
		return nil, err
	}
	output.Say = func(text string) { n.complain("%s", text) }
	n.spawn("output of "+name, output.Drain)
	d := &supervise.Daemon{
		Name: name, Output: output, Reaper: n.reaper, Log: n.Log,
		Cgroup: filepath.Join(cgroupRoot, group),
		// Below it is only -1000, which the kernel never kills: with that, a
		// daemon with a leak would take the machine along.
		OOMScoreAdj: -999,
	}
	n.mu.Lock()
	n.daemons = append(n.daemons, d)
	n.mu.Unlock()
	return d, nil
}

func environment(path string, more ...string) []string {
	return append([]string{"PATH=" + path, "HOME=/root", "NOTIFY_SOCKET=" + notifySocket}, more...)
}

// startContainerd starts containerd with its listening socket. PID 1 keeps the
// socket, so a kubelet that connects early, or while containerd is started
// again, waits in the queue instead of being refused, on which it would exit.
func (n *Node) startContainerd() error {
	socket, err := listen(criSocket)
	if err != nil {
		return err
	}
	d, err := n.newDaemon("containerd", "runtime")
	if err != nil {
		return err
	}
	d.Files = []*os.File{socket}
	d.Prepare = func() (argv, env []string) {
		// CNI plugins, which containerd starts, call programs such as nft, which
		// the network's pod puts beside them.
		return []string{"/bin/containerd", "--config", "/usr/share/kios/containerd.toml"}, environment("/bin:/opt/cni/bin", "LISTEN_FDS=1")
	}
	n.containerd = d
	if err := d.Start(); err != nil {
		return err
	}
	n.spawn("containerd", d.Run)
	return nil
}

// listen makes a listening socket for root only. It is not Go's: that one
// would be non-blocking, and closed with its file.
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

func (n *Node) startKubelet() error {
	d, err := n.newDaemon("kubelet", "kubelet")
	if err != nil {
		return err
	}
	d.Prepare = n.prepareKubelet
	n.mu.Lock()
	n.kubelet = d
	n.mu.Unlock()
	n.Log.Notice("node %s, %d MB of memory, %d CPUs", n.hostname, n.memory>>20, n.cpus)
	if err := d.Start(); err != nil {
		return err
	}
	n.spawn("kubelet", d.Run)
	return nil
}

// kubeletDaemon returns the kubelet, or nil if it is not there yet: the goroutines of
// the clock and of stopping may ask before it is.
func (n *Node) kubeletDaemon() *supervise.Daemon {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kubelet
}

// prepareKubelet makes the kubelet's arguments. A kubelet that is started again
// finds what has changed in /etc since: that is how a pod configures a node.
func (n *Node) prepareKubelet() (argv, env []string) {
	if n.kubelet.Restarts() > 0 {
		for _, f := range []func() error{n.setHostname, n.writeHosts, n.ensureCertificate, n.writeDropIn} {
			if err := f(); err != nil {
				n.Log.Error("prepare the kubelet: %v", err)
			}
		}
	}
	argv, warnings := kubeletargs.Files{Root: "/"}.Args()
	for _, w := range warnings {
		n.complain("%s", w)
	}
	return argv, environment("/bin")
}

func (n *Node) stopKubelet() error { return n.stopDaemon(n.kubelet) }

func (n *Node) stopContainerd() error { return n.stopDaemon(n.containerd) }

func (n *Node) stopDaemon(d *supervise.Daemon) error {
	if d == nil {
		return nil
	}
	return d.Stop(daemonBound)
}

// stopContainers ends the containers of pods while containerd still notes how
// they end, and their sandboxes after them.
func (n *Node) stopContainers() error {
	all, errs := bundle.List(bundle.Dir)
	containers, sandboxes := bundle.Split(all)
	bound, cut := n.options.StopAfter, n.hurry
	if n.inHurry() {
		bound, cut = hurryBound, nil
	}
	count := bundle.Stop(containers, bound, cut, n.Log)
	bundle.Stop(sandboxes, sandboxBound, nil, n.Log)
	n.Log.Notice("containers ended: %d", count)
	return errors.Join(errs...)
}

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
