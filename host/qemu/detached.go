package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/internal/wholefile"
)

// Detached is a QEMU that outlives the process that started it. All that
// another process must know to find it again is in its directory:
//
//	console.log   the serial console as it is, boot after boot
//	qemu.log      what QEMU itself said
//	qmp.sock      its monitor, which serves one client at a time
//	process.json  which process it is
//	qemu.pid      its number, which QEMU itself writes
type Detached struct {
	Dir   string
	Since time.Time // power-on

	pid   int
	pidfd *os.File
	done  chan struct{}
}

// ErrNotRunning is Attach's answer for a directory whose QEMU has ended.
var ErrNotRunning = errors.New("the machine is not running")

// process names a process beyond its end: a number alone may have been given
// to another one since.
type process struct {
	PID   int       `json:"pid"`
	Start string    `json:"start"` // proc_pid_stat(5), field 22
	Boot  string    `json:"boot"`  // the host's
	Since time.Time `json:"since"`
}

// StartDetached boots a machine that runs until the guest or somebody with
// access to its directory ends it. OnLine and Taps have no meaning for it.
func StartDetached(ctx context.Context, cfg Config) (*Detached, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := checkNotRunning(cfg.Dir); err != nil {
		return nil, err
	}
	if err := cfg.prepare(ctx); err != nil {
		return nil, err
	}
	ports, err := choosePorts(cfg.Forward)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(cfg.Dir, "console.log")
	if err := markPowerOn(log); err != nil {
		return nil, fmt.Errorf("make the machine's log: %w", err)
	}
	d, err := detach(ctx, cfg.Arch, cfg.Dir, cfg.args([]string{
		"-chardev", "file,id=serial,append=on,path=" + escape(log), "-serial", "chardev:serial",
		"-chardev", "socket,id=qmp,server=on,wait=off,fd=3", "-mon", "chardev=qmp,mode=control",
	}, ports))
	if err != nil {
		return nil, err
	}
	d.setNice(cfg.Nice)
	return d, nil
}

// setNice lowers the priority of all threads, and that of the session, which is
// what counts between sessions where the host's kernel groups tasks by them
// (sched(7), the autogroup feature). If the host refuses, the machine runs anyway.
func (d *Detached) setNice(nice int) {
	if nice == 0 {
		return
	}
	proc := fmt.Sprintf("/proc/%d/", d.pid)
	threads, _ := os.ReadDir(proc + "task")
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, nice)
		}
	}
	_ = os.WriteFile(proc+"autogroup", []byte(strconv.Itoa(nice)), 0)
}

// markPowerOn writes a line between the boots, whose own clocks all begin at 0.
func markPowerOn(log string) error {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "\n---- power on, %s ----\n", time.Now().Format(time.RFC3339))
	return errors.Join(err, f.Close())
}

// detach starts QEMU with the listening socket of its monitor as descriptor 3,
// and these others from 4 on, which therefore can be connected to at once.
func detach(ctx context.Context, a arch.Arch, dir string, args []string, sockets ...*os.File) (*Detached, error) {
	bin, err := lookPath(a)
	if err != nil {
		return nil, err
	}
	monitor, err := listen(filepath.Join(dir, "qmp.sock"))
	if err != nil {
		return nil, err
	}
	defer monitor.Close()
	stderr, err := os.OpenFile(filepath.Join(dir, "qemu.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the machine's log: %w", err)
	}
	defer stderr.Close()

	cmd := exec.Command(bin, append(args, "-pidfile", pidFile(dir))...)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.ExtraFiles = append([]*os.File{monitor}, sockets...)
	// A session of its own: Ctrl-C on our terminal is not for the machine.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// It does not get the descriptors of this process either: a lock, or a pipe
	// that somebody reads to its end. Go's own are closed already.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start %s: %w", a.QEMU.Binary, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", a.QEMU.Binary, err)
	}
	go cmd.Wait() // no zombie, for as long as this process is its parent
	d, err := record(dir, cmd.Process.Pid)
	if err != nil {
		cmd.Process.Kill()
		return nil, fmt.Errorf("start %s: %w", a.QEMU.Binary, err)
	}
	monitor.Close() // or nobody would notice that QEMU has ended
	if _, err := d.Execute(ctx, "query-status", nil); err != nil {
		d.Kill()
		return nil, startError(err, a.QEMU.Binary, stderr.Name())
	}
	return d, nil
}

// checkNotRunning is called before anything in the directory is replaced.
func checkNotRunning(dir string) error {
	d, err := Attach(dir)
	if err != nil {
		return nil
	}
	d.Close()
	return fmt.Errorf("the machine in %s is already running", dir)
}

// listen returns a listening socket to inherit.
func listen(path string) (*os.File, error) {
	if err := checkSocketPath(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make a socket for QEMU: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// checkSocketPath finds paths that unix(7) has no room for.
func checkSocketPath(path string) error {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return fmt.Errorf("the path %s is too long for a socket: it may have at most %d bytes; choose a directory with a shorter path", path, len(unix.RawSockaddrUnix{}.Path)-1)
	}
	return nil
}

// record keeps which process this is.
func record(dir string, pid int) (*Detached, error) {
	p := process{PID: pid, Start: startTime(pid), Boot: bootID(), Since: time.Now()}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	if err := wholefile.Durable(filepath.Join(dir, "process.json"), data, 0o600); err != nil {
		return nil, err
	}
	return p.attach(dir)
}

// Attach finds the running QEMU of a directory, or returns ErrNotRunning.
func Attach(dir string) (*Detached, error) {
	data, err := os.ReadFile(filepath.Join(dir, "process.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find the machine of %s: %w", dir, err)
	}
	// A file that a power cut of the host has spoilt is of an earlier boot.
	var p process
	if err == nil && json.Unmarshal(data, &p) == nil {
		d, err := p.attach(dir)
		if !errors.Is(err, ErrNotRunning) {
			return d, err
		}
	}
	return attachOrphan(dir)
}

func pidFile(dir string) string { return filepath.Join(dir, "qemu.pid") }

// attachOrphan finds a QEMU whose starter was killed before it had noted the process.
// The directory is on its command line.
func attachOrphan(dir string) (*Detached, error) {
	text, err := os.ReadFile(pidFile(dir))
	if err != nil {
		return nil, ErrNotRunning
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return nil, ErrNotRunning
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(command, []byte("\x00"+pidFile(dir)+"\x00")) {
		return nil, ErrNotRunning
	}
	return process{PID: pid, Start: startTime(pid), Boot: bootID(), Since: modified(pidFile(dir))}.attach(dir)
}

// attach takes hold of the process before it looks whether it is the right
// one: from then on its number cannot be given to another.
func (p process) attach(dir string) (*Detached, error) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("find the machine of %s: process %d: %w", dir, p.PID, err)
	}
	d := &Detached{Dir: dir, Since: p.Since, pid: p.PID, pidfd: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	if p.Start == "" || p.Boot != bootID() || p.Start != startTime(p.PID) || ended(fd) {
		d.pidfd.Close()
		return nil, ErrNotRunning
	}
	go d.await()
	return d, nil
}

// await closes done when the process has ended. Close ends it, too: Go polls the
// descriptor together with all others.
func (d *Detached) await() {
	conn, err := d.pidfd.SyscallConn()
	if err == nil {
		err = conn.Read(func(fd uintptr) bool { return ended(int(fd)) })
	}
	if err == nil {
		close(d.done)
	}
}

// ended reports whether a process has ended, which makes its descriptor readable.
func ended(pidfd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// startTime is when a process was started, in ticks since the host's boot;
// empty if there is no such process.
func startTime(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field, the name in parentheses, may have any character in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return string(fields[19])
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// Close lets go of the machine, which runs on.
func (d *Detached) Close() { d.pidfd.Close() }

// Done is closed when QEMU has ended.
func (d *Detached) Done() <-chan struct{} { return d.done }

// Running reports whether QEMU still runs.
func (d *Detached) Running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// Execute runs a command of the QEMU machine protocol and returns its answer.
// Another client that is served at the time is waited for.
func (d *Detached) Execute(ctx context.Context, command string, args any) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.Dir, "qmp.sock"))
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	defer conn.Close()
	m := newMonitor(conn, func(Event) {})
	if err := m.negotiate(ctx); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	return m.Execute(ctx, command, args)
}

// SetLink plugs the cable of a network back-end or card in, or pulls it out:
// "nic0" is a machine's card, whose carrier goes with it.
func (d *Detached) SetLink(ctx context.Context, name string, up bool) error {
	_, err := d.Execute(ctx, "set_link", map[string]any{"name": name, "up": up})
	return err
}

// PowerOff presses the power button and waits until the guest has switched
// itself off. It presses again every other second, since a guest that still
// boots does not notice. The context bounds it.
func (d *Detached) PowerOff(ctx context.Context) error {
	again := time.NewTicker(2 * time.Second)
	defer again.Stop()
	for {
		if _, err := d.Execute(ctx, "system_powerdown", nil); err != nil && d.Running() && ctx.Err() == nil && !errors.Is(err, errMonitorClosed) {
			return fmt.Errorf("press the power button: %w", err)
		}
		select {
		case <-again.C:
		case <-d.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the guest did not switch itself off: %w", ctx.Err())
		}
	}
}

// Kill is a power cut, and waits for QEMU's end.
func (d *Detached) Kill() error {
	conn, err := d.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill the machine of %s: %w", d.Dir, err)
	}
	var killErr error
	err = conn.Control(func(fd uintptr) { killErr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err = errors.Join(err, killErr); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill the machine of %s: %w", d.Dir, err)
	}
	<-d.done
	return nil
}

// Paused says why the guest stands still though nobody has stopped it, or "".
func (d *Detached) Paused(ctx context.Context) string {
	data, err := d.Execute(ctx, "query-status", nil)
	var now struct{ Status string }
	if err != nil || json.Unmarshal(data, &now) != nil {
		return ""
	}
	if now.Status == "io-error" {
		return "paused: it could not write to its disk (is this host's disk full?)"
	}
	return ""
}
