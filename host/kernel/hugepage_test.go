package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

// showFlags prints the flags of a small and of a large map of memory; "hg" is the
// wish for huge pages.
const showFlags = `
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void flags(const char *name, size_t length)
{
	char line[512];
	uintptr_t at = (uintptr_t)mmap(0, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *f = fopen("/proc/self/smaps", "r");
	int in = 0;
	while (f && fgets(line, sizeof line, f)) {
		uintptr_t from, to;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
			in = from <= at && at < to;
		if (in && !strncmp(line, "VmFlags:", 8))
			printf("%s%s", name, line + 8);
	}
}

int main(void)
{
	flags("small", 1 << 16);
	flags("large", 1 << 23);
}
`

func TestHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this machine's kernel has no transparent huge pages:", err)
	}
	dir := t.TempDir()
	library, err := buildHugePages(t.Context(), dir)
	lab.Must(t, err)
	program := filepath.Join(dir, "showflags")
	cc := exec.Command("gcc", "-o", program, "-x", "c", "-")
	cc.Stdin = strings.NewReader(showFlags)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for _, test := range []struct {
		preload  string
		wantHuge bool
	}{
		{"", false},
		{library, true},
	} {
		cmd := exec.Command(program)
		cmd.Env = []string{"LD_PRELOAD=" + test.preload}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		small, large, ok := strings.Cut(string(out), "\n")
		if !ok || !strings.HasPrefix(small, "small ") || !strings.HasPrefix(large, "large ") {
			t.Fatalf("output = %q, want the flags of a small and a large map", out)
		}
		if strings.Contains(small+" ", " hg ") {
			t.Errorf("preload %q: small map has %q, want no hg", test.preload, small)
		}
		if got := strings.Contains(large+" ", " hg "); got != test.wantHuge {
			t.Errorf("preload %q: large map has %q, want hg: %v", test.preload, large, test.wantHuge)
		}
	}
}
