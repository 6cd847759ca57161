package build

// These are tests of what pause.c has for each architecture, with the compilers that this
// machine has.

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/test/lab"
)

const pauseSource = "../../pods/pause/pause.c"

// eachCompiler runs a test for the architectures that there is a compiler for.
func eachCompiler(t *testing.T, test func(t *testing.T, a arch.Arch)) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) {
			if _, err := exec.LookPath(a.Tool("gcc")); err != nil {
				t.Skipf("%v: apt-get install %s", err, strings.Join(a.ToolPackages(), " "))
			}
			test(t, a)
		})
	}
}

func TestPauseIsSmallAndReproducible(t *testing.T) {
	eachCompiler(t, func(t *testing.T, a arch.Arch) {
		var made []string
		for _, name := range []string{"one", "two"} {
			out := filepath.Join(t.TempDir(), name)
			lab.Must(t, compilePause(t.Context(), a, pauseSource, out))
			made = append(made, lab.ReadFile(t, out))
		}
		if made[0] != made[1] {
			t.Error("two builds differ")
		}
		if len(made[0]) > 2048 {
			t.Errorf("pause has %d bytes, want 2048 at most", len(made[0]))
		}
	})
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
	eachCompiler(t, func(t *testing.T, a arch.Arch) {
		args := slices.Concat([]string{"-std=c11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fsyntax-only", "-I", filepath.Dir(pauseSource)}, a.PauseFlags, []string{source})
		lab.Run(t, a.Tool("gcc"), args...)
	})
}
