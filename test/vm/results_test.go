package vm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const console = `[    1.0] Run /init as init process
@@ start kios/init/mount
@| === RUN   TestMount
[    1.5] EXT4-fs (vda): mounted filesystem
@|     mount_test.go:7: indented
@| --- PASS: TestMount (0.00s)
@| PASS
@@ end kios/init/mount 0
@@ start kios/init/reap
@| --- FAIL: TestReap (0.00s)
@@ end kios/init/reap 1
@@ start kios/init/power
@| === RUN   TestPanic
[    3.0] Kernel panic - not syncing: sysrq triggered crash`
	got, done := parse(strings.Split(console, "\n"))
	want := []result{
		{pkg: "kios/init/mount", ended: true, output: []string{"=== RUN   TestMount", "    mount_test.go:7: indented", "--- PASS: TestMount (0.00s)", "PASS"}},
		{pkg: "kios/init/reap", ended: true, exit: 1, output: []string{"--- FAIL: TestReap (0.00s)"}},
		{pkg: "kios/init/power", output: []string{"=== RUN   TestPanic"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(result{})); diff != "" {
		t.Errorf("parse (-want +got):\n%s", diff)
	}
	if done {
		t.Error("parse says that the guest came to its end")
	}
	if _, done := parse([]string{"@@ done"}); !done {
		t.Error(`parse("@@ done") says that the guest did not come to its end`)
	}
}
