package main

import (
	"io"
	"strings"
	"testing"

	"kios/host/console"
	"kios/host/qemu"
)

// A machine whose firmware has come to its shell will never run a node.
func TestWatchOfAMachineWithoutASystem(t *testing.T) {
	w := newWatch(console.NewPrinter(io.Discard), &runPlan{})
	for _, text := range []string{
		`BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0): Not Found`,
		`BdsDxe: starting Boot0004 "EFI Internal Shell" from Fv(64074AFE)`,
		`BdsDxe: starting Boot0004 "EFI Internal Shell" from Fv(64074AFE)`,
	} {
		w.line(qemu.Line{Text: text})
	}
	select {
	case <-w.stranded:
	default:
		t.Error("nothing says that the machine is stranded")
	}
}

// A kernel without an initrd panics because it finds no init, which says nothing of the cause.
func TestWatchOfAMachineTooSmall(t *testing.T) {
	for want, lines := range map[string][]string{
		"give it more with --memory": {
			"EFI stub: ERROR: Failed to load initrd: 0x8000000000000009",
			"[    2.9] Kernel panic - not syncing: No working init found.",
		},
		"panicked: Kernel panic - not syncing: No working init found.": {
			"[    2.9] Kernel panic - not syncing: No working init found.",
		},
	} {
		w := newWatch(console.NewPrinter(io.Discard), &runPlan{})
		for _, text := range lines {
			w.line(qemu.Line{Text: text})
		}
		if err := w.panicked(); !strings.Contains(err.Error(), want) {
			t.Errorf("after %q: %v, want %q", lines, err, want)
		}
	}
}
