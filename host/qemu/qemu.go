// Package qemu boots virtual machines for people (kios run), for tests and for
// the benchmark: a machine with virtio disks, one network card behind QEMU's
// user-mode network, a random number source and a serial console, and nothing
// else. What differs between architectures is in package arch.
//
// The console and the monitor are socket pairs that QEMU inherits, so that a
// machine leaves no sockets behind; QEMU itself dies with the process that
// started it. All forwarded ports are on the loopback interface. For a network
// of machines that stay (kios cluster) there are Detached and Switch.
//
// It has no graphics, no migration, no bridged network and no libvirt. It
// follows qemu(1), version 7.2 or newer, and the QEMU machine
// protocol (docs/interop/qmp-spec).
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/arch"
)

// Config describes a machine. Kernel chooses the way it boots: with a Kernel,
// QEMU loads it directly; without, UEFI firmware boots the first disk.
type Config struct {
	Arch arch.Arch // of the machine; the host's if it has no name

	Kernel string // for a direct boot
	Initrd string // an initramfs, or several joined with cpio padding; direct boot only
	Append string // the kernel's command line; direct boot only

	// Firmware is the code of another UEFI firmware than Debian's without Secure Boot.
	// Its variables may be put into Dir as efivars.fd.
	Firmware string

	Disks  []Disk
	CDs    []string // disc images, each in a drive at a port of AHCI
	Memory int64    // bytes; 512 MiB if 0
	CPUs   int      // 2 if 0

	NoNetwork bool
	Card      string // QEMU's name of the network card; virtio-net-pci if empty
	Isolated  bool   // the guest reaches nothing; forwarded ports still work
	MAC       string // of the network card, or of the first tap's with NoNetwork; QEMU's default if empty
	Forward   []Port

	// EC2 makes it a machine of EC2; nil for none.
	EC2 *EC2

	// Switch is the socket of a port (see PortSocket): the first card is on
	// that network then, and a second one, with the address UserMAC, is on a
	// network of the machine's own.
	Switch string

	// Taps are open tap interfaces (/dev/net/tun), one network card for each
	// beside the first: networks that a test makes.
	Taps []*os.File

	HotplugPorts int  // PCIe root ports hotplug0, hotplug1, ... for device_add
	NoReboot     bool // a guest that resets ends the machine
	Args         []string

	// Dir keeps console.log, qemu.log and the firmware's variables. It must
	// exist, and stays after the machine's end. A machine that is started in
	// the directory of an earlier one keeps that one's variables and goes on in
	// its console.log.
	Dir string

	// OnLine is called with every line of the console, in order, from one
	// goroutine. A slow OnLine slows the guest's console down.
	OnLine func(Line)

	// Accel is probed (see Probe) if it is empty.
	Accel Accel

	// CodeCache is how many bytes TCG may use for what it has translated; it
	// begins anew when they are full. QEMU's own default, 1 GiB and less on a
	// small host, if 0.
	CodeCache int64

	// Nice is how much of the host's processors a detached machine leaves to
	// others: 0 to 19, as nice(1) has it.
	Nice int

	// Patience is how long Expect and Eventually wait on a machine with
	// hardware virtualisation; see Machine.Scale. 20 s if 0.
	Patience time.Duration
}

// UserMAC is the address of the second card of a machine on a switch. All have
// the same: nobody else is on that network.
const UserMAC = "52:54:00:4b:4d:01"

// Disk is one drive of a machine.
type Disk struct {
	Path     string
	Format   string // "raw" or "qcow2"; detected if empty
	Bus      string // "virtio" (also if empty), "nvme", "ahci", "usb", or SCSI: "scsi" (virtio's), "pvscsi" (VMware's), "megasas"
	Serial   string // what the guest sees as the drive's serial number
	ReadOnly bool
	Snapshot bool // changes are lost at the machine's end; the file is untouched
	Unsafe   bool // do not pass the guest's flushes to the host's disk
}

// Port forwards a TCP port of the host's loopback interface to the guest.
type Port struct {
	Host  int // a free one is chosen if 0
	Guest int
}

// End is how a machine came to its end.
type End string

const (
	PoweredOff End = "powered off" // the guest switched itself off
	Rebooted   End = "rebooted"    // the guest reset the machine, and NoReboot was set
	Killed     End = "killed"      // by Kill, Quit or a signal
	Crashed    End = "crashed"     // QEMU ended by itself; see qemu.log
)

// Machine is a running (or ended) virtual machine.
type Machine struct {
	Accel Accel

	cfg     Config
	started time.Time
	ports   map[int]int
	cmd     *exec.Cmd
	console *console
	qmp     *monitor
	stderr  string

	mu     sync.Mutex
	end    End
	killed bool
	resets int

	exited chan struct{} // the process is gone and the console is complete
}

// Start boots a machine. The context bounds the start only; the machine runs
// until the guest or the caller ends it, or the calling process dies.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	bin, err := lookPath(cfg.Arch)
	if err != nil {
		return nil, err
	}
	if err := cfg.prepare(ctx); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		m, err := launch(ctx, bin, cfg)
		if err == nil || try == 3 || !lostPort(err, cfg.Forward) {
			return m, err
		}
	}
}

func (c Config) withDefaults() Config {
	if c.Arch.Name == "" {
		c.Arch = arch.Host()
	}
	if c.Memory == 0 {
		c.Memory = 512 << 20
	}
	if c.CPUs == 0 {
		c.CPUs = 2
	}
	if c.Patience == 0 {
		c.Patience = 20 * time.Second
	}
	return c
}

// prepare finds out what is left to it, and makes what firmware needs.
func (c *Config) prepare(ctx context.Context) (err error) {
	if c.Accel == "" {
		if c.Accel, err = Probe(ctx, c.Arch, c.Kernel); err != nil {
			return err
		}
	}
	if c.Kernel != "" {
		c.nameBootDisk(ctx)
	}
	return c.prepareFirmware()
}

// Installed says what is missing of QEMU for machines of an architecture, and how to get it.
func Installed(a arch.Arch) error {
	_, err := lookPath(a)
	return err
}

// lookPath finds the program: the one that Ensure has got, or that of the host.
func lookPath(a arch.Arch) (string, error) {
	if own := ownPath(a); own != "" {
		return own, nil
	}
	bin, err := exec.LookPath(a.QEMU.Binary)
	if err == nil {
		return bin, nil
	}
	if a.Foreign() {
		return "", fmt.Errorf("there is no %s (get it with: kios deps%s)", a.QEMU.Binary, a.Flag())
	}
	return "", fmt.Errorf("%s is not installed (apt-get install %s)", a.QEMU.Binary, a.QEMU.Package)
}

func launch(ctx context.Context, bin string, cfg Config) (*Machine, error) {
	ports, err := choosePorts(cfg.Forward)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(cfg.Dir, "console.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make the machine's log: %w", err)
	}
	serial, serialEnd, err := socketPair("serial")
	if err != nil {
		return nil, err
	}
	control, controlEnd, err := socketPair("qmp")
	if err != nil {
		serial.Close()
		serialEnd.Close()
		return nil, err
	}

	m := &Machine{
		Accel:  cfg.Accel,
		cfg:    cfg,
		ports:  ports,
		stderr: filepath.Join(cfg.Dir, "qemu.log"),
		exited: make(chan struct{}),
	}
	m.cmd = exec.Command(bin, cfg.args(inherited, ports)...)
	// File descriptors 3, 4 and from firstTap on.
	m.cmd.ExtraFiles = append([]*os.File{serialEnd, controlEnd}, cfg.Taps...)
	m.started = time.Now()
	m.console = newConsole(serial, m.started, log, cfg.OnLine)
	m.qmp = newMonitor(control, m.event)
	err = m.run()
	// QEMU's ends must not stay open here, or ours would never see their end.
	serialEnd.Close()
	controlEnd.Close()
	if err != nil {
		return nil, err
	}
	if err := m.qmp.negotiate(ctx); err != nil {
		m.Kill()
		return nil, m.startError(err)
	}
	return m, nil
}

// run starts the process and sees to its end. The kernel sends Pdeathsig when
// the thread that started the child ends, not the process, so the goroutine
// that starts QEMU keeps its thread for as long as QEMU runs.
func (m *Machine) run() error {
	stderr, err := os.Create(m.stderr)
	if err != nil {
		return fmt.Errorf("make the machine's log: %w", err)
	}
	m.cmd.Stderr = stderr
	m.cmd.Stdout = stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer stderr.Close()
		err := m.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = m.cmd.Wait()
		<-m.console.done
		m.finish(err)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", m.cfg.Arch.QEMU.Binary, err)
	}
	return nil
}

func (m *Machine) finish(err error) {
	<-m.qmp.done // the last event says how the guest ended
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.killed:
		m.end = Killed
	case m.end == "" && err == nil:
		m.end = Killed // SIGTERM from outside: QEMU ends in order
	case m.end == "":
		m.end = Crashed
	}
	close(m.exited)
}

// event takes in what QEMU reports; see SHUTDOWN and RESET in qapi/run-state.
func (m *Machine) event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Name {
	case "SHUTDOWN":
		m.end = endOf(e.Reason())
	case "RESET":
		if e.Reason() == "guest-reset" {
			m.resets++
		}
	}
}

func endOf(reason string) End {
	switch reason {
	case "guest-shutdown":
		return PoweredOff
	case "guest-reset", "host-qmp-system-reset":
		return Rebooted
	}
	return Killed
}

// startError explains why QEMU ended before its monitor answered.
func (m *Machine) startError(err error) error {
	<-m.exited
	return startError(err, m.cfg.Arch.QEMU.Binary, m.stderr)
}

func startError(err error, program, stderr string) error {
	said, _ := os.ReadFile(stderr)
	text := strings.TrimSpace(string(bytes.ReplaceAll(said, []byte(program+": "), nil)))
	switch {
	case strings.Contains(text, "Could not set up host forwarding rule"):
		return fmt.Errorf("%w: %s", ErrPortTaken, text)
	case strings.Contains(text, "Failed to get \"write\" lock"):
		return fmt.Errorf("start %s: %s (another machine uses this disk; stop that one first)", program, text)
	case strings.Contains(text, "cannot set up guest memory"):
		return fmt.Errorf("start %s: %s (ask for less memory)", program, text)
	case text != "":
		return fmt.Errorf("start %s: %s", program, text)
	}
	return fmt.Errorf("start %s: %w", program, err)
}

// Uptime is the time since power-on, on the host's clock.
func (m *Machine) Uptime() time.Duration { return time.Since(m.started) }

// Addr is where the guest's port is reached: 127.0.0.1:PORT.
func (m *Machine) Addr(guestPort int) string {
	return fmt.Sprintf("127.0.0.1:%d", m.ports[guestPort])
}

// Resets counts how often the guest has reset the machine.
func (m *Machine) Resets() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resets
}

// Execute runs a command of the QEMU machine protocol, such as device_add, and
// returns its answer.
func (m *Machine) Execute(ctx context.Context, command string, args any) ([]byte, error) {
	return m.qmp.Execute(ctx, command, args)
}

// PowerButton presses the power button. A guest that is not yet ready for it
// does not notice.
func (m *Machine) PowerButton(ctx context.Context) error {
	_, err := m.Execute(ctx, "system_powerdown", nil)
	return err
}

// Reset presses the reset button: the guest has no time to do anything.
func (m *Machine) Reset(ctx context.Context) error {
	_, err := m.Execute(ctx, "system_reset", nil)
	return err
}

// Quit ends QEMU in order, so that its disk images are complete. For the guest
// it is a power cut.
func (m *Machine) Quit(ctx context.Context) error {
	m.setKilled()
	_, err := m.Execute(ctx, "quit", nil)
	if _, waitErr := m.Wait(ctx); waitErr != nil {
		return errors.Join(err, waitErr)
	}
	return nil
}

// Kill is a power cut: QEMU is killed where it stands, and is gone when Kill
// returns. What the guest has handed to its disk is there, what it still held
// in memory is lost.
func (m *Machine) Kill() {
	m.setKilled()
	if m.running() {
		unix.Kill(-m.cmd.Process.Pid, unix.SIGKILL) // gone already is as good
	}
	<-m.exited
}

func (m *Machine) setKilled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killed = m.end == ""
}

func (m *Machine) running() bool {
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// Done is closed when the machine has ended and its console is complete.
func (m *Machine) Done() <-chan struct{} { return m.exited }

// Wait waits for the machine's end and says how it came about. The error is
// the context's.
func (m *Machine) Wait(ctx context.Context) (End, error) {
	select {
	case <-m.exited:
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.end, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the machine's end: %w", ctx.Err())
	}
}

// PowerOff presses the power button and waits until the guest has switched
// itself off. It presses again from time to time, since a guest that still
// boots does not notice, until noticed is closed: each time would look as if
// somebody did it. The context bounds it.
func (m *Machine) PowerOff(ctx context.Context, noticed <-chan struct{}) (End, error) {
	again := time.NewTicker(m.Scale(time.Second))
	defer again.Stop()
	for press := true; ; {
		if err := m.pressIf(ctx, press); err != nil {
			return "", fmt.Errorf("press the power button: %w", err)
		}
		select {
		case <-noticed:
			press, noticed = false, nil
		case <-again.C:
		case <-m.exited:
			return m.Wait(ctx)
		case <-ctx.Done():
			return "", fmt.Errorf("the guest did not switch itself off: %w%s", ctx.Err(), m.tailText())
		}
	}
}

// pressIf presses the power button of a machine that runs.
func (m *Machine) pressIf(ctx context.Context, press bool) error {
	if !press {
		return nil
	}
	err := m.PowerButton(ctx)
	if !m.running() || ctx.Err() != nil || errors.Is(err, errMonitorClosed) {
		return nil // it is seen there
	}
	return err
}

// socketPair returns both ends of a stream: ours as a connection, and QEMU's
// as a file to inherit.
func socketPair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the machine's %s line: %w", name, err)
	}
	ours := os.NewFile(uintptr(fds[0]), name)
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), name)
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make the machine's %s line: %w", name, err)
	}
	return conn, theirs, nil
}

// Send types text on the guest's serial console.
func (m *Machine) Send(text string) error {
	_, err := io.WriteString(m.console.conn, text)
	return err
}
