package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
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

func TestDirectArgsHaveNoFirmware(t *testing.T) {
	args := Config{Kernel: "/k", Initrd: "/i", Append: "a b", Memory: 512 << 20, CPUs: 2, Accel: TCG}.args(inherited, nil)
	if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "pflash") }) {
		t.Errorf("args = %q, want no firmware", args)
	}
	if i := slices.Index(args, "-append"); i < 0 || args[i+1] != "a b no_timer_check highres=off" {
		t.Errorf("args = %q, want the command line as one argument", args)
	}
}
