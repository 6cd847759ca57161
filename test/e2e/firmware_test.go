//go:build image

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/qemu"
	"kios/test/lab"
)

// What the kernel says last before it restarts is in the firmware's memory. The next boot
// takes it out of there, and the one after it finds nothing.
func TestHardwareLastWords(t *testing.T) {
	lab.Long(t)
	n := boot(t, setup{uefi: true, few: true})
	n.expect(`kubelet ready`)
	n.running("probe")
	n.Mark()
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(2*time.Second))
	defer cancel()
	_, _ = n.tryProbe(ctx, "crash", "1") // nobody is left to answer
	n.expect(`Rebooting in 10 seconds`)
	n.expect(`kios: warning: an earlier boot has left dmesg-efi_pstore-\d+: Kernel panic - not syncing: Attempted to kill init!`)
	n.expect(`kios: warning: the kernel's last words of an earlier boot are in /var/log/pstore.log`)
	n.running("probe")
	if got := n.probe("cat", "/var/log/pstore.log"); !strings.Contains(got, "Attempted to kill init!") || !strings.Contains(got, "(kios: dmesg-efi_pstore-") {
		t.Errorf("/var/log/pstore.log has %.500q", got)
	}
	n.powerOff()

	n.reboot() // efivarfs lists what was there when it was mounted
	n.expect(`kubelet ready`)
	if got := n.probe("list", "/sys/firmware/efi/efivars"); strings.Contains(got, "dump-type") || !strings.Contains(got, "BootCurrent") {
		t.Errorf("the firmware's variables are\n%s", got)
	}
	if n.consoleHas(`an earlier boot has left`) {
		t.Error("the words are there again")
	}
	n.powerOff()
	n.demandCleanDisk()
}

// secure has the machine's firmware start nothing but what it can verify.
func (n *node) secure() {
	n.t.Helper()
	secure := n.cfg.Arch.QEMU.Firmware.Secure
	vars, err := os.ReadFile(secure.Vars)
	n.must(err)
	n.must(os.WriteFile(filepath.Join(n.cfg.Dir, "efivars.fd"), vars, 0o600))
	n.cfg.Firmware = secure.Code
	n.cfg.Args = append(n.cfg.Args, secure.Args...)
}

// signed returns kios.efi with a signature. Debian's firmware for tests trusts a key that
// is public.
func signed(t *testing.T) string {
	t.Helper()
	dir, secure := t.TempDir(), lab.Arch(t).QEMU.Firmware.Secure
	key, efi := filepath.Join(dir, "key"), filepath.Join(dir, "kios.efi")
	lab.Run(t, "openssl", "pkey", "-passin", "pass:snakeoil", "-in", secure.Key, "-out", key)
	lab.Run(t, "sbsign", "--key", key, "--cert", secure.Cert, "--output", efi, lab.Out(t, "kios.efi"))
	return efi
}

// Under Secure Boot the firmware refuses kios.efi as it was built. It starts one that is
// signed, and then the kernel is locked down by itself, and user data that nobody has signed
// do not count.
func TestHardwareSecureBoot(t *testing.T) {
	lab.Long(t)
	refused := prepare(t, setup{uefi: true, few: true})
	refused.secure()
	refused.start()
	refused.expect(`BdsDxe: failed to load Boot\w+ .*: Access Denied`)
	refused.Kill()

	n := prepare(t, setup{uefi: true, memory: 1024, efi: signed(t)})
	n.secure()
	n.cfg.Args = append(n.cfg.Args, smbiosString(cloudConfig("forged"))...)
	n.start()
	n.expect(`Kernel is locked down from EFI Secure Boot`)
	n.expect(`kubelet ready`)
	n.running("probe")
	for _, name := range systemPods {
		n.running(name)
	}
	if got := n.probe("cat", "/sys/kernel/security/lockdown"); !strings.Contains(got, "[integrity]") {
		t.Errorf("lockdown is %q, want integrity", got)
	}
	const ignored = "the string of SMBIOS with kios.user-data is ignored: Secure Boot is on"
	n.demandSaid(ignored)
	n.demandQuiet(ignored)
	n.powerOff()
	n.demandCleanDisk()
}

// copyDisk copies the node's disk, GUIDs included.
func (n *node) copyDisk() string {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), "copy.raw")
	lab.Run(n.t, "cp", "--sparse=always", n.disk, path)
	return path
}

// bootDisks are machines with a disk and a copy of it. The firmware boots from one of
// them, and the node takes its data partition, wherever the kernel finds it.
var bootDisks = []struct {
	bus, copyBus string
	copyFirst    bool   // the firmware boots from the copy
	want         string // on the console
}{
	{"virtio", "virtio", true, `data partition /dev/vdb2$`},
	{"nvme", "nvme", true, `data partition /dev/nvme1n1p2$`},
	{"virtio", "usb", true, `data partition /dev/sda2$`}, // a stick counts if the machine boots from it
	// Both hang at the one controller, and its ports are not compared.
	{"ahci", "ahci", true, `the disks sda and sdb all have the partition .*, from which the machine booted`},
}

// The firmware knows which disk it booted from, which a copy of the disk does not change.
func TestHardwareBootDisk(t *testing.T) {
	lab.Long(t)
	n := prepare(t, setup{uefi: true, few: true})
	second := n.copyDisk()
	for _, tt := range bootDisks {
		first, other := 0, 1
		if tt.copyFirst {
			first, other = 1, 0
		}
		n.cfg.Disks = []qemu.Disk{{Path: n.disk, Bus: tt.bus, Snapshot: true}, {Path: second, Bus: tt.copyBus, Snapshot: true}}
		n.cfg.Args = []string{"-set", fmt.Sprintf("device.disk%d.bootindex=0", first), "-set", fmt.Sprintf("device.disk%d.bootindex=1", other)}
		t.Run(fmt.Sprintf("%s and %s, boot from %d", tt.bus, tt.copyBus, first), func(t *testing.T) {
			one := *n
			one.t, one.cfg.Dir = t, t.TempDir()
			one.start()
			one.expect(tt.want)
			one.Kill()
		})
	}
}
