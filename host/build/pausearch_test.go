package build

// These are tests of what pause.c has for each processor, with the compilers that this
// machine has.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// processors have the names of Go, of Debian's compilers, and of what QEMU runs programs with.
var processors = []struct{ name, triplet, qemu string }{
	{"amd64", "x86_64-linux-gnu", "qemu-x86_64"},
	{"arm64", "aarch64-linux-gnu", "qemu-aarch64"},
}

// eachProcessor runs a test for those that there is a compiler for.
func eachProcessor(t *testing.T, test func(t *testing.T, compiler, qemu string)) {
	for _, p := range processors {
		t.Run(p.name, func(t *testing.T) {
			compiler, err := exec.LookPath(p.triplet + "-gcc")
			if err != nil {
				t.Skipf("%v: install the Debian package gcc-%s", err, strings.ReplaceAll(p.triplet, "_", "-"))
			}
			if p.name == runtime.GOARCH {
				p.qemu = ""
			}
			test(t, compiler, p.qemu)
		})
	}
}

// compilePlain compiles a source without a C library.
func compilePlain(t *testing.T, compiler string, args ...string) {
	t.Helper()
	all := append([]string{"-std=c11", "-Wall", "-Wextra", "-Werror", "-Os", "-ffreestanding", "-fno-stack-protector"}, args...)
	if text, err := exec.CommandContext(t.Context(), compiler, all...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", compiler, err, text)
	}
}

// The filter ends a pause that makes another system call than it lets through, and one
// for another processor ends every pause: so the numbers are compared with the kernel's.
func TestPauseKnowsTheProcessor(t *testing.T) {
	const asserts = `
#include "pause.c"
enum { OWN = (int)AUDIT_ARCH };
#undef AUDIT_ARCH // the kernel has something else of that name
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#define SAME(name) _Static_assert(SYS_##name == __NR_##name, #name)
SAME(rt_sigprocmask);
SAME(exit_group);
SAME(wait4);
SAME(rt_sigtimedwait);
SAME(prctl);
#if defined(__x86_64__)
_Static_assert(OWN == (int)AUDIT_ARCH_X86_64, "AUDIT_ARCH");
#elif defined(__aarch64__)
_Static_assert(OWN == (int)AUDIT_ARCH_AARCH64, "AUDIT_ARCH");
#endif
_Static_assert(KILL_PROCESS == SECCOMP_RET_KILL_PROCESS && ALLOW == SECCOMP_RET_ALLOW, "seccomp");
_Static_assert(NUMBER == __builtin_offsetof(struct seccomp_data, nr), "NUMBER");
_Static_assert(ARCH == __builtin_offsetof(struct seccomp_data, arch), "ARCH");
`
	source := filepath.Join(t.TempDir(), "asserts.c")
	lab.WriteFile(t, source, asserts)
	eachProcessor(t, func(t *testing.T, compiler, _ string) {
		compilePlain(t, compiler, "-fsyntax-only", "-I../../pods/pause", source)
	})
}

// QEMU has no seccomp for the programs that it runs. All else is as on the processor.
func TestPauseEndsOnSignalOfEachProcessor(t *testing.T) {
	eachProcessor(t, func(t *testing.T, compiler, qemu string) {
		pause := filepath.Join(t.TempDir(), "pause")
		compilePlain(t, compiler, "-nostdlib", "-static", "-o", pause, "../../pods/pause/pause.c")
		cmd := exec.Command(pause)
		if qemu != "" {
			path, err := exec.LookPath(qemu)
			if err != nil {
				t.Skipf("%v: install the Debian package qemu-user", err)
			}
			cmd = exec.Command(path, pause)
		}
		lab.Must(t, cmd.Start())
		lab.Until(t, 10*time.Second, "pause waits", func() bool { return waitsForSignals(cmd.Process.Pid) })
		lab.Must(t, cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM it ended with %v, want exit status 0", err)
		}
	})
}

// waitsForSignals reports whether a process, or the QEMU that runs it, is in rt_sigtimedwait(2).
func waitsForSignals(pid int) bool {
	call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	return strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_RT_SIGTIMEDWAIT))
}
