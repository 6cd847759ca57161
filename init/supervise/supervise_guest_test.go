//go:build guest

package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// TestStartsInCgroup has the kernel say where a daemon was born.
func TestStartsInCgroup(t *testing.T) {
	root := t.TempDir()
	lab.Must(t, unix.Mount("cgroup2", root, "cgroup2", 0, ""))
	group := filepath.Join(root, "supervise-test")
	t.Cleanup(func() { os.Remove(group); unix.Unmount(root, unix.MNT_DETACH) })
	lab.Must(t, os.Mkdir(group, 0o755))
	d, _, output := start(t, "calm", func(d *Daemon) { d.Cgroup, d.OOMScoreAdj = group, 500 })
	lab.Until(t, bound, "up", func() bool { return strings.Contains(output.String(), "up") })
	for file, want := range map[string]string{"cgroup": "supervise-test\n", "oom_score_adj": "500\n"} {
		got, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.Pid(), file))
		if err != nil || !strings.HasSuffix(string(got), want) {
			t.Errorf("%s = %q, %v, want %q at its end", file, got, err, want)
		}
	}
}
