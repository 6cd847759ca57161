package qemu

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kios/host/arch"
)

// check finds what QEMU would refuse, or would not notice, and says how to
// mend it.
func (c Config) check() error {
	if c.Dir == "" {
		return errors.New("qemu: Config.Dir is not set")
	}
	for _, file := range []string{c.Kernel, c.Initrd} {
		if err := statBuilt(c.Arch, file); file != "" && err != nil {
			return err
		}
	}
	if c.Kernel == "" && len(c.Disks) == 0 {
		return errors.New("the machine has neither a kernel nor a disk to boot from")
	}
	for _, d := range c.Disks {
		if _, err := os.Stat(d.Path); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
		if _, known := buses[d.Bus]; !known {
			return fmt.Errorf("disk %s: unknown bus %q (virtio, nvme, scsi, pvscsi, megasas, ahci or usb)", d.Path, d.Bus)
		}
	}
	return checkMemory(c.Memory)
}

// statBuilt looks for a file that the build for an architecture makes.
func statBuilt(a arch.Arch, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%w (make it with kios build%s)", err, a.Flag())
	}
	return nil
}

// MemAvailable returns how many bytes of the host's memory are to be had, or 0
// if that is not known.
func MemAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0 // not Linux: QEMU itself will say so
	}
	defer f.Close()
	return memAvailable(f)
}

func checkMemory(want int64) error {
	free := MemAvailable()
	if free > 0 && want > free {
		return fmt.Errorf("a machine with %d MiB of memory does not fit: the host has %d MiB available (ask for less, or stop other programs)", want>>20, free>>20)
	}
	return nil
}

// memAvailable returns the bytes of proc_meminfo(5)'s MemAvailable, or 0.
func memAvailable(r io.Reader) int64 {
	for s := bufio.NewScanner(r); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// inherited are the serial line and the monitor of a machine that dies with
// its starter: socket pairs, whose other ends are descriptors 3 and 4.
var inherited = []string{
	"-chardev", "socket,id=serial,fd=3", "-serial", "chardev:serial",
	"-chardev", "socket,id=qmp,fd=4", "-mon", "chardev=qmp,mode=control",
}

// args is QEMU's command line; lines are those of the serial line and the
// monitor.
func (c Config) args(lines []string, ports map[int]int) []string {
	args := []string{
		"-name", "kios",
		"-nodefaults", "-no-user-config",
		"-sandbox", c.EC2.sandbox(),
		"-display", "none", "-vga", "none",
		"-m", fmt.Sprintf("%dM", c.Memory>>20),
		"-smp", strconv.Itoa(c.CPUs),
		"-device", "virtio-rng-pci",
	}
	args = slices.Concat(args, lines, c.machineArgs(), c.bootArgs(), c.EC2.firmware(), c.diskArgs(), c.networkArgs(ports), c.tapArgs())
	for i := range c.HotplugPorts {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=hotplug%d,chassis=%d", i, i+1))
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	return append(args, c.Args...)
}

// machineArgs are the machine and what executes its instructions.
func (c Config) machineArgs() []string {
	q := c.Arch.QEMU
	args := []string{"-machine", q.Machine}
	if c.Accel == KVM {
		return append(args, q.KVM...)
	}
	args = append(args, q.Emulation(c.Arch.Foreign())...)
	if at := slices.Index(args, "-accel"); c.CodeCache > 0 && at >= 0 {
		args[at+1] += fmt.Sprintf(",tb-size=%d", c.CodeCache>>20)
	}
	return args
}

// BootDirectly lets QEMU load a kernel and an initrd in place of firmware. The
// kernel's command line is in the file cmdline, as a build writes it.
func (c *Config) BootDirectly(kernel, initrd, cmdline string) error {
	line, err := os.ReadFile(cmdline)
	c.Kernel, c.Initrd, c.Append = kernel, initrd, strings.TrimSpace(string(line))
	return err
}

// bootArgs are what the machine boots, and by what.
//
// The kernel of an emulated machine is told highres=off: timers end with a tick then,
// every 4 ms. Each Go program that does something has a thread that looks after the others
// every 20 µs to 10 ms, and setting a timer and its interrupt are dear where QEMU emulates
// the interrupt controller: docs/benchmarks.md has figures.
func (c Config) bootArgs() []string {
	firmware := c.Arch.QEMU.Firmware
	if c.Kernel == "" {
		args := []string{
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(cmp.Or(c.Firmware, firmware.Code)),
			"-drive", "if=pflash,unit=1,format=raw,file=" + escape(c.varsFile()),
		}
		if c.Accel == TCG {
			// systemd-stub(7) takes more of the command line from SMBIOS.
			args = append(args, "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra="+c.Arch.QEMU.ForTCG)
		}
		return args
	}
	if c.Accel == TCG {
		c.Append = strings.TrimSpace(c.Append + " " + c.Arch.QEMU.ForTCG)
	}
	args := []string{"-kernel", c.Kernel, "-append", c.Append}
	if c.Initrd != "" {
		args = append(args, "-initrd", c.Initrd)
	}
	if firmware.Direct != "" {
		args = append(args, "-bios", firmware.Direct)
	}
	return args
}

// diskArgs are the disks and discs, and the controller that those at AHCI need. A port has
// one of them.
func (c Config) diskArgs() (args []string) {
	ofAHCI := func(d Disk) bool { return d.Bus == "ahci" }
	if ahci := c.Arch.QEMU.AHCI; ahci != "" && (len(c.CDs) > 0 || slices.ContainsFunc(c.Disks, ofAHCI)) {
		args = []string{"-device", ahci}
	}
	for i, d := range c.Disks {
		args = append(args, d.args(i, c.Kernel == "")...)
	}
	for i, cd := range c.CDs {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=cd%d,media=cdrom,format=raw,readonly=on,file=%s", i, escape(cd)),
			"-device", fmt.Sprintf("ide-cd,drive=cd%d,bus=ide.%d", i, len(c.Disks)+i))
	}
	return args
}

func (d Disk) args(i int, boot bool) []string {
	drive := fmt.Sprintf("if=none,id=drive%d,file=%s,format=%s,discard=unmap", i, escape(d.Path), d.format())
	for _, option := range []struct {
		on   bool
		text string
	}{
		{d.ReadOnly, "readonly=on"},
		{d.Snapshot, "snapshot=on"},
		{d.Unsafe, "cache=unsafe"},
	} {
		if option.on {
			drive += "," + option.text
		}
	}
	bus := buses[d.Bus]
	device := fmt.Sprintf("%s,drive=drive%d,id=disk%d,serial=%s", bus.device, i, i, d.serial(i))
	if boot {
		device += fmt.Sprintf(",bootindex=%d", i)
	}
	args := []string{"-drive", drive}
	if bus.controller != "" {
		args = append(args, "-device", fmt.Sprintf("%s,id=bus%d", bus.controller, i))
	}
	if bus.name != "" {
		device += ",bus=" + fmt.Sprintf(bus.name, i)
	}
	return append(args, "-device", device)
}

func (d Disk) format() string {
	if d.Format != "" {
		return d.Format
	}
	return DetectFormat(d.Path)
}

func (d Disk) serial(i int) string {
	if d.Serial != "" {
		return d.Serial
	}
	return fmt.Sprintf("disk%d", i) // NVMe insists on one
}

// buses are QEMU's devices for a disk, its controller if each disk has one of its own, and
// the name of the bus that the disk with a number is on, unless QEMU chooses.
var buses = map[string]struct{ device, controller, name string }{
	"":       {"virtio-blk-pci", "", ""},
	"virtio": {"virtio-blk-pci", "", ""},
	"nvme":   {"nvme", "", ""},
	"ahci":   {"ide-hd", "", "ide.%d"}, // QEMU would put all at the first port
	"scsi":   {"scsi-hd", "virtio-scsi-pci", "bus%d.0"},
	"pvscsi": {"scsi-hd", "pvscsi", "bus%d.0"},
	// QEMU takes the bit FUA of a write to this controller for a LUN, and fails.
	"megasas": {"scsi-hd,dpofua=off", "megasas-gen2", "bus%d.0"},
	"usb":     {"usb-storage", "qemu-xhci", "bus%d.0"},
}

func (c Config) networkArgs(ports map[int]int) []string {
	if c.NoNetwork {
		return nil
	}
	if c.Switch == "" {
		return append([]string{"-netdev", c.userNetwork("net0", ports)}, c.card(0, c.MAC)...)
	}
	args := []string{"-netdev", "stream,id=net0,server=off,addr.type=unix,addr.path=" + escape(c.Switch)}
	args = append(args, c.card(0, c.MAC)...)
	args = append(args, "-netdev", c.userNetwork("net1", ports))
	return append(args, c.card(1, UserMAC)...)
}

func (c Config) card(i int, mac string) []string {
	model := c.Card
	if model == "" {
		model = "virtio-net-pci"
	}
	card := fmt.Sprintf("%s,id=nic%d,netdev=net%d,romfile=", model, i, i) // no network boot
	if mac != "" {
		card += ",mac=" + mac
	}
	return []string{"-device", card}
}

func (c Config) userNetwork(id string, ports map[int]int) string {
	net := "user,id=" + id
	if c.Isolated {
		net += ",restrict=on"
	}
	for _, p := range c.Forward {
		net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", ports[p.Guest], p.Guest)
	}
	return net + c.EC2.network()
}

// firstTap is the file descriptor of the first tap interface in QEMU.
const firstTap = 5

func (c Config) tapArgs() (args []string) {
	for i := range c.Taps {
		mac := fmt.Sprintf("52:54:00:4b:05:%02x", i+1)
		if i == 0 && c.NoNetwork && c.MAC != "" {
			mac = c.MAC // machines on one network must differ
		}
		args = append(args,
			"-netdev", fmt.Sprintf("tap,id=tap%d,fd=%d", i, firstTap+i),
			"-device", fmt.Sprintf("virtio-net-pci,id=tapnic%d,netdev=tap%d,mac=%s,romfile=", i, i, mac))
	}
	return args
}

// escape doubles commas, which separate options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// DetectFormat says "qcow2" for a file that starts like one, else "raw".
func DetectFormat(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "raw"
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err == nil && bytes.Equal(magic, []byte("QFI\xfb")) {
		return "qcow2"
	}
	return "raw"
}

// ErrPortTaken says that another program listens at a port of the host that
// was to be forwarded.
var ErrPortTaken = errors.New("a forwarded port is taken")

// choosePorts maps guest ports to host ports, and finds free ones for those
// that leave the choice. Another program may take such a port before QEMU
// does; Start then tries again.
func choosePorts(forward []Port) (map[int]int, error) {
	ports := map[int]int{}
	for _, p := range forward {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.Host))
		if err != nil {
			return nil, fmt.Errorf("%w: 127.0.0.1:%d (choose another one, or give none to get a free one): %w", ErrPortTaken, p.Host, err)
		}
		defer l.Close()
		ports[p.Guest] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// lostPort reports whether QEMU failed on a port that choosePorts had chosen.
func lostPort(err error, forward []Port) bool {
	for _, p := range forward {
		if p.Host != 0 {
			return false
		}
	}
	return errors.Is(err, ErrPortTaken)
}

func (c Config) varsFile() string { return filepath.Join(c.Dir, "efivars.fd") }

// prepareFirmware looks for what the machine boots by, and gives it flash of its own for
// variables. One that is there already is kept, as a real machine keeps them.
func (c Config) prepareFirmware() error {
	direct := c.Kernel != ""
	if err := FirmwareInstalled(c.Arch, direct); err != nil || direct || exists(c.varsFile()) {
		return err
	}
	if err := copySparse(c.varsFile(), c.Arch.QEMU.Firmware.Vars); err != nil {
		os.Remove(c.varsFile()) // what is there is kept
		return fmt.Errorf("copy the firmware's variables: %w", err)
	}
	return nil
}

// FirmwareInstalled says whether the firmware of an architecture's machines is missing, and
// how to get it. Machines that QEMU gives a kernel may need some, too.
func FirmwareInstalled(a arch.Arch, direct bool) error {
	firmware := a.QEMU.Firmware
	files, remedy := []string{firmware.Code, firmware.Vars}, "apt-get install "+firmware.Package
	if direct {
		files = []string{firmware.Direct}
	}
	if a.Foreign() {
		remedy = "get it with: kios deps" + a.Flag()
	}
	for _, file := range files {
		if _, err := os.Stat(file); file != "" && err != nil {
			return fmt.Errorf("UEFI firmware for %s is not installed: %w (%s)", a.Name, err, remedy)
		}
	}
	return nil
}

// copySparse copies a file without its blocks of zeros: flash of 64 MiB for variables has
// a few KiB that are none.
func copySparse(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(data))); err != nil {
		return err
	}
	const block = 4096
	for at := 0; at < len(data); at += block {
		part := data[at:min(at+block, len(data))]
		if len(bytes.TrimLeft(part, "\x00")) == 0 {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			return err
		}
	}
	return f.Close()
}
