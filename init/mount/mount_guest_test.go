//go:build guest

package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// on returns the topmost mount on target, and fails if there is none.
func on(t *testing.T, target string) Info {
	t.Helper()
	infos, err := List()
	lab.Must(t, err)
	info, found := Find(infos, target)
	if !found {
		t.Fatalf("nothing is mounted on %s", target)
	}
	return info
}

// scratch returns a tmpfs that is private, with nosuid, nodev and noexec.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	row := Row{Target: dir, Type: "tmpfs", Source: "tmpfs", Flags: Strict, Data: []string{"size=1m"}}
	lab.Must(t, row.Mount())
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	lab.Must(t, unix.Mount("", dir, "", unix.MS_PRIVATE, ""))
	return dir
}

func TestRowTriesDataInTurn(t *testing.T) {
	row := Row{Target: filepath.Join(scratch(t), "new", "dir"), Type: "tmpfs", Source: "tmpfs", Flags: Strict, Data: []string{"nonsense=1", "mode=0700"}}
	lab.Must(t, row.Mount())
	if super := on(t, row.Target).Super; !strings.Contains(super, "mode=700") {
		t.Errorf("options = %q", super)
	}
	bind := Row{Target: filepath.Join(filepath.Dir(row.Target), "bound"), Source: row.Target, Flags: Strict | RdOnly}
	lab.Must(t, bind.Mount())
	if got, want := on(t, bind.Target).Options, "ro,nosuid,nodev,noexec,relatime"; got != want {
		t.Errorf("options of the bind mount = %q, want %q", got, want)
	}
}

func TestOptionalRow(t *testing.T) {
	dir := scratch(t)
	missing := Row{Target: filepath.Join(dir, "x"), Type: "nosuchfs", Source: "x"}
	if err := missing.Mount(); err == nil {
		t.Error("a required row with an unknown file system mounts")
	}
	missing.Optional = true
	if err := missing.Mount(); err != nil {
		t.Errorf("optional row: %v", err)
	}
}

// TestOverlay holds what /etc is made of: an overlay with nosuid, nodev and
// noexec, whose upper layer takes the changes.
func TestOverlay(t *testing.T) {
	dir := scratch(t)
	for _, name := range []string{"lower", "upper", "work", "etc"} {
		lab.Must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	os.WriteFile(filepath.Join(dir, "lower", "hosts"), []byte("old"), 0o644)
	data := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	row := Row{Target: filepath.Join(dir, "etc"), Type: "overlay", Source: "overlay", Flags: Strict, Data: []string{data}}
	lab.Must(t, row.Mount())
	lab.WriteFile(t, filepath.Join(dir, "etc", "hosts"), "new")
	for name, want := range map[string]string{"lower": "old", "upper": "new"} {
		if got, _ := os.ReadFile(filepath.Join(dir, name, "hosts")); string(got) != want {
			t.Errorf("%s/hosts = %q, want %q", name, got, want)
		}
	}
	if err := unix.Access(filepath.Join(dir, "etc"), unix.W_OK); err != nil {
		t.Error(err)
	}
}
