package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/host/cache"
)

// Accel is what executes the guest's instructions.
type Accel string

const (
	KVM Accel = "kvm" // the processor itself
	TCG Accel = "tcg" // QEMU's translator: everywhere, some ten times slower
)

// tcgFactor is how much slower than KVM a guest may be under TCG, with room
// for a host whose processors are shared.
const tcgFactor = 10

// Scale stretches a duration that is enough with KVM.
func (a Accel) Scale(d time.Duration) time.Duration {
	if a == KVM {
		return d
	}
	return d * tcgFactor
}

// probeBound is how long the probe's guest may take. Where KVM works it needs
// a second or two.
const probeBound = 10 * time.Second

// Probe finds out whether KVM works here. That /dev/kvm can be opened is not
// enough: nested virtualisation may offer it and then hang every guest. So
// Probe boots the kernel once without an initramfs, which must end in a panic
// within ten seconds. The verdict is kept in the cache, for this boot of the
// host, this QEMU and this kernel. Without a kernel to try, and for a guest of another
// architecture than the host's, the answer is TCG.
//
// The environment variable KIOS_ACCEL (kvm or tcg) overrides the probe, but a processor
// does not execute another one's instructions.
func Probe(ctx context.Context, a arch.Arch, kernel string) (Accel, error) {
	switch forced := Accel(os.Getenv("KIOS_ACCEL")); {
	case forced != "" && forced != KVM && forced != TCG:
		return "", fmt.Errorf("KIOS_ACCEL=%s: must be kvm or tcg", forced)
	case a.Foreign():
		return TCG, nil
	case forced != "":
		return forced, nil
	}
	if kernel == "" || !deviceOpens() {
		return TCG, nil
	}
	if err := statBuilt(a, kernel); err != nil {
		return "", err
	}
	bin, err := lookPath(a)
	if err != nil {
		return "", err
	}
	verdict, err := verdictFile(ctx, bin, kernel)
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	if said, ok := kept(verdict); ok {
		return parseVerdict(said), nil
	}
	accel, reason, err := tryKVM(ctx, a, bin, kernel)
	if ctx.Err() != nil {
		return "", fmt.Errorf("probe KVM: %w", ctx.Err())
	}
	if err != nil {
		return TCG, nil // QEMU did not start: memory may have been short
	}
	return accel, keepVerdict(verdict, accel, reason)
}

// doubtful is for how long a verdict against KVM is believed: the host may have been
// busy during the probe.
const doubtful = 24 * time.Hour

// kept returns a verdict that is to be believed.
func kept(file string) (said []byte, ok bool) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, false
	}
	said, err = os.ReadFile(file)
	if err != nil || parseVerdict(said) != KVM && time.Since(info.ModTime()) > doubtful {
		return nil, false
	}
	return said, true
}

// WhyEmulated says for a person why Probe has decided against KVM, and what to do.
func WhyEmulated(ctx context.Context, a arch.Arch, kernel string) string {
	if a.Foreign() {
		return "this host is " + arch.Host().Name
	}
	if os.Getenv("KIOS_ACCEL") == string(TCG) {
		return "KIOS_ACCEL=tcg asks for it"
	}
	switch err := openKVM(); {
	case errors.Is(err, fs.ErrNotExist):
		return "this host has no /dev/kvm"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open /dev/kvm: as root run usermod -aG kvm USER, and log in again"
	case err != nil:
		return err.Error()
	}
	if bin, err := lookPath(a); err == nil && kernel != "" {
		if file, err := verdictFile(ctx, bin, kernel); err == nil {
			return "KVM does not work here" + reasonIn(file)
		}
	}
	return "KVM was not tried"
}

// reasonIn is what a verdict's file says of the reason, and how to try again.
func reasonIn(file string) string {
	said, err := os.ReadFile(file)
	_, reason, found := strings.Cut(strings.TrimSpace(string(said)), " ")
	if err != nil || !found {
		return ""
	}
	return fmt.Sprintf(": %s (remove %s to try again)", reason, file)
}

// MayUseKVM reports whether Probe can find that KVM works.
func MayUseKVM(a arch.Arch) bool {
	forced := Accel(os.Getenv("KIOS_ACCEL"))
	return !a.Foreign() && (forced == KVM || forced != TCG && deviceOpens())
}

func deviceOpens() bool { return openKVM() == nil }

func openKVM() error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// verdictFile names the file that keeps the answer: another boot, QEMU or
// kernel has another name.
func verdictFile(ctx context.Context, bin, kernel string) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", bin, err)
	}
	key := cache.NewKey("kvm-probe", string(boot), string(version))
	if err := key.AddTree(kernel); err != nil {
		return "", err
	}
	dir, err := cache.Dir()
	return filepath.Join(dir, "accel-"+key.String()), err
}

// parseVerdict reads the first word; the rest of the file is the reason.
func parseVerdict(said []byte) Accel {
	if first, _, _ := strings.Cut(string(said), " "); Accel(first) == KVM {
		return KVM
	}
	return TCG
}

func keepVerdict(file string, accel Accel, reason string) error {
	text := fmt.Sprintf("%s %s\n", accel, reason)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("keep the KVM probe's verdict: %w", err)
	}
	return nil
}

// tryKVM boots the kernel under KVM. QEMU ending well is not enough either: a
// guest that crashes at its first instruction also resets the machine.
func tryKVM(ctx context.Context, a arch.Arch, bin, kernel string) (accel Accel, reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	probe := Config{Arch: a, Accel: KVM, Kernel: kernel, Append: "console=" + a.QEMU.Console + " panic=-1"}
	cmd := exec.CommandContext(ctx, bin, slices.Concat([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-m", "256M", "-serial", "stdio", "-no-reboot",
	}, probe.machineArgs(), probe.bootArgs())...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // for Pdeathsig; see Machine.run
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return TCG, fmt.Sprintf("the guest hangs (no panic within %s)", probeBound), nil
	case err != nil:
		return TCG, "", err
	case !strings.Contains(out.String(), "Kernel panic"):
		return TCG, "the guest ends before its kernel prints a panic", nil
	}
	return KVM, "the guest runs", nil
}
