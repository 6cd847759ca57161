package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/cache"
	"kios/test/lab"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"[    0.000000] Linux version 6.12.117\r\n", "[    0.000000] Linux version 6.12.117"},
		{"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\n", "BdsDxe: starting Boot0001"},
		{"\x1b[0;31mred\x1b[0m\tend \x1b(B\n", "red\tend"},
		{"\x1bc\r\n", ""},
		{"\r\n", ""},
		{"no newline", "no newline"},
	} {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestMemAvailable(t *testing.T) {
	const meminfo = "MemTotal:       24620420 kB\nMemFree:        15000000 kB\nMemAvailable:   23000000 kB\n"
	if got, want := memAvailable(strings.NewReader(meminfo)), int64(23000000<<10); got != want {
		t.Errorf("memAvailable = %d, want %d", got, want)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	lab.Must(t, os.WriteFile(disk, nil, 0o600))
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no directory", Config{}, "Config.Dir"},
		{"nothing to boot", Config{Dir: dir}, "neither a kernel nor a disk"},
		{"no kernel", Config{Dir: dir, Kernel: "/no/vmlinuz"}, "kios build"},
		{"no disk", Config{Dir: dir, Disks: []Disk{{Path: "/no/disk"}}}, "/no/disk"},
		{"bus", Config{Dir: dir, Disks: []Disk{{Path: disk, Bus: "ide"}}}, `unknown bus "ide"`},
		{"memory", Config{Dir: dir, Disks: []Disk{{Path: disk}}, Memory: 1 << 50}, "does not fit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.check()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("check() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestDiskArgs(t *testing.T) {
	got := Disk{Path: "/tmp/a,b.raw", Snapshot: true, Unsafe: true, Serial: "s"}.args(1, true)
	want := []string{
		"-drive", "if=none,id=drive1,file=/tmp/a,,b.raw,format=raw,discard=unmap,snapshot=on,cache=unsafe",
		"-device", "virtio-blk-pci,drive=drive1,id=disk1,serial=s,bootindex=1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
}

// A port of AHCI has one disk.
func TestDisksOfAHCI(t *testing.T) {
	for i, want := range []string{"ide-hd,drive=drive0,id=disk0,serial=disk0,bus=ide.0", "ide-hd,drive=drive1,id=disk1,serial=disk1,bus=ide.1"} {
		got := Disk{Path: "/tmp/a.raw", Bus: "ahci"}.args(i, false)
		if got[len(got)-1] != want {
			t.Errorf("disk %d is %s, want %s", i, got[len(got)-1], want)
		}
	}
}

func TestNetworkArgs(t *testing.T) {
	cfg := Config{Isolated: true, MAC: "52:54:00:00:00:01", Forward: []Port{{Guest: 10250}}}
	got := cfg.networkArgs(map[int]int{10250: 4711})
	want := []string{
		"-netdev", "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:4711-:10250",
		"-device", "virtio-net-pci,id=nic0,netdev=net0,romfile=,mac=52:54:00:00:00:01",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("networkArgs (-want +got):\n%s", diff)
	}
}

func TestChoosePorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	lab.Must(t, err)
	defer taken.Close()
	busy := taken.Addr().(*net.TCPAddr).Port

	ports, err := choosePorts([]Port{{Guest: 80}, {Guest: 10250}})
	if err != nil || ports[80] == 0 || ports[10250] == 0 || ports[80] == ports[10250] {
		t.Errorf("choosePorts = %v, %v, want two free ports", ports, err)
	}
	if _, err := choosePorts([]Port{{Host: busy, Guest: 80}}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("choosePorts(%d) = %v, want %v", busy, err, ErrPortTaken)
	}
}

func TestDetectFormat(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"qcow2": "QFI\xfb\x00\x00\x00\x03", "raw": "", "raw ": strings.Repeat("\x00", 512)} {
		file := filepath.Join(dir, name)
		lab.Must(t, os.WriteFile(file, []byte(content), 0o600))
		if got, want := DetectFormat(file), strings.TrimSpace(name); got != want {
			t.Errorf("DetectFormat(%q) = %s, want %s", content, got, want)
		}
	}
}

func TestProbeOverride(t *testing.T) {
	for _, tt := range []struct {
		env  string
		want Accel
		ok   bool
	}{{"tcg", TCG, true}, {"kvm", KVM, true}, {"hax", "", false}} {
		t.Setenv("KIOS_ACCEL", tt.env)
		if got, err := Probe(context.Background(), arch.Host(), ""); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("Probe with KIOS_ACCEL=%s = %q, %v", tt.env, got, err)
		}
	}
}

func TestParseVerdict(t *testing.T) {
	for said, want := range map[string]Accel{
		"kvm the guest runs\n":                  KVM,
		"tcg the guest hangs (no panic ...)\n":  TCG,
		"tcg exit status 134: no kvm for you\n": TCG,
		"":                                      TCG,
	} {
		if got := parseVerdict([]byte(said)); got != want {
			t.Errorf("parseVerdict(%q) = %s, want %s", said, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	if got := TCG.Scale(time.Second); got != tcgFactor*time.Second {
		t.Errorf("TCG.Scale(1s) = %s", got)
	}
	if got := KVM.Scale(time.Second); got != time.Second {
		t.Errorf("KVM.Scale(1s) = %s", got)
	}
}

// With a kernel, a machine has firmware only where QEMU describes it by something else
// than ACPI otherwise.
func TestDirectArgs(t *testing.T) {
	for _, a := range arch.All {
		args := Config{Arch: a, Kernel: "/k", Initrd: "/i", Append: "a b", Memory: 512 << 20, CPUs: 2, Accel: TCG}.args(inherited, nil)
		if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "pflash") }) {
			t.Errorf("%s: args = %q, want no flash", a.Name, args)
		}
		if got := valueOf(args, "-append"); got != "a b "+a.QEMU.ForTCG {
			t.Errorf("%s: the command line is %q", a.Name, got)
		}
		if got := valueOf(args, "-bios"); got != a.QEMU.Firmware.Direct {
			t.Errorf("%s: -bios %s, want %s", a.Name, got, a.QEMU.Firmware.Direct)
		}
	}
}

// valueOf is the argument behind a flag, or "".
func valueOf(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

// Machines are those of their architecture, and firmware boots them by its own files.
func TestMachineArgs(t *testing.T) {
	for _, tt := range []struct{ arch, machine, code, forTCG string }{
		{"amd64", "q35", "/usr/share/OVMF/OVMF_CODE_4M.fd", "no_timer_check highres=off"},
		{"arm64", "virt,gic-version=3", "/usr/share/AAVMF/AAVMF_CODE.fd", "highres=off"},
	} {
		a, err := arch.Find(tt.arch)
		lab.Must(t, err)
		cfg := Config{Arch: a, Dir: "/d", Accel: TCG, CodeCache: 512 << 20}
		args := cfg.args(inherited, nil)
		if got := valueOf(args, "-machine"); got != tt.machine {
			t.Errorf("%s: -machine %s, want %s", tt.arch, got, tt.machine)
		}
		if got := valueOf(args, "-drive"); !strings.HasSuffix(got, "file="+tt.code) {
			t.Errorf("%s: the firmware is %s, want %s", tt.arch, got, tt.code)
		}
		if got := valueOf(args, "-smbios"); !strings.HasSuffix(got, "extra="+tt.forTCG) {
			t.Errorf("%s: the stub is told %s, want %s", tt.arch, got, tt.forTCG)
		}
		// Twice: the table of the architectures stays as it is.
		want := a.QEMU.Emulation(a.Foreign())[1] + ",tb-size=512"
		for _, got := range []string{valueOf(args, "-accel"), valueOf(cfg.args(inherited, nil), "-accel")} {
			if got != want {
				t.Errorf("%s: -accel %s, want %s", tt.arch, got, want)
			}
		}
		cfg.Accel = KVM
		if got := valueOf(cfg.args(inherited, nil), "-accel"); got != "kvm" {
			t.Errorf("%s: -accel %s with KVM", tt.arch, got)
		}
	}
}

// A controller that QEMU's machine lacks is added once, and each port has one drive.
func TestAHCI(t *testing.T) {
	disk := Disk{Path: "/tmp/a.raw", Bus: "ahci"}
	for _, a := range arch.All {
		for _, tt := range []struct {
			disks []Disk
			cds   []string
			ports string
			need  bool // for AHCI
		}{
			{[]Disk{{Path: "/tmp/a.raw"}}, nil, "", false},
			{[]Disk{disk, disk}, nil, " 0 1", true},
			{[]Disk{{Path: "/tmp/a.raw"}}, []string{"/a.iso", "/b.iso"}, " 1 2", true},
			{[]Disk{disk}, []string{"/a.iso"}, " 0 1", true},
		} {
			args := strings.Join(Config{Arch: a, Disks: tt.disks, CDs: tt.cds}.diskArgs(), " ")
			ports := ""
			for _, found := range regexp.MustCompile(`,bus=ide\.(\d)`).FindAllStringSubmatch(args, -1) {
				ports += " " + found[1]
			}
			want := 0
			if tt.need && a.QEMU.AHCI != "" {
				want = 1
			}
			if got := strings.Count(args, "ahci,id=ide"); got != want || ports != tt.ports {
				t.Errorf("%s: %s has %d controllers and the ports%s, want %d and%s", a.Name, args, got, ports, want, tt.ports)
			}
		}
	}
}

// A guest of another architecture runs in another program, and never under KVM.
func TestForeign(t *testing.T) {
	t.Setenv("KIOS_ACCEL", "kvm")
	for _, a := range arch.All {
		got, err := Probe(t.Context(), a, "")
		if want := map[bool]Accel{true: TCG, false: KVM}[a.Foreign()]; got != want || err != nil {
			t.Errorf("%s: Probe = %s, %v, want %s", a.Name, got, err, want)
		}
		if got := MayUseKVM(a); got == a.Foreign() {
			t.Errorf("%s: MayUseKVM = %v", a.Name, got)
		}
		if why := WhyEmulated(t.Context(), a, ""); a.Foreign() && why != "this host is "+arch.Host().Name {
			t.Errorf("%s: WhyEmulated = %s", a.Name, why)
		}
	}
}

// Each architecture has a QEMU of its own, and the newest one of it is taken.
func TestOwnPath(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	root, err := cache.Dir()
	lab.Must(t, err)
	for _, a := range arch.All {
		if _, err := lookPath(a); err == nil || a.Foreign() && !strings.Contains(err.Error(), "kios deps --arch "+a.Name) {
			t.Errorf("%s: lookPath without any = %v", a.Name, err)
		}
		want := filepath.Join(root, a.Product("qemu")+"-2", ownBinary(a))
		for i, name := range []string{"-1", "-2"} {
			path := filepath.Join(root, a.Product("qemu")+name, ownBinary(a))
			lab.WriteFile(t, path, starter(a))
			old := time.Now().Add(time.Duration(i-10) * time.Minute)
			lab.Must(t, os.Chtimes(path, old, old))
		}
		// of a host of another architecture, with which this one has its cache in common
		lab.WriteFile(t, filepath.Join(root, a.Product("qemu")+"-3", a.QEMU.Binary+"-on-other"), starter(a))
		if got, err := lookPath(a); got != want || err != nil {
			t.Errorf("%s: lookPath = %s, %v, want %s", a.Name, got, err, want)
		}
		if !strings.Contains(starter(a), a.QEMU.Binary) || !strings.Contains(starter(a), arch.Host().Triplet) {
			t.Errorf("%s: %s", a.Name, starter(a))
		}
	}
}

// Flash has the variables that Debian's file has, and takes less room.
func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 1<<20+5)
	copy(data[8192:], "variables")
	copy(data[1<<20:], "end")
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	lab.Must(t, os.WriteFile(from, data, 0o600))
	lab.Must(t, copySparse(to, from))
	if lab.ReadFile(t, to) != string(data) {
		t.Error("the copy differs")
	}
	info, err := os.Stat(to)
	lab.Must(t, err)
	if stored := info.Sys().(*syscall.Stat_t).Blocks * 512; stored > 64<<10 {
		t.Errorf("the copy takes %d KiB", stored>>10)
	}
}
