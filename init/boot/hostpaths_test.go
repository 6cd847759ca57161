package boot

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kios/init/mount"
	"kios/internal/hostpath"
	"kios/test/lab"

	"golang.org/x/sys/unix"
)

func TestMakeVar(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, os.Mkdir(filepath.Join(dir, "opt"), 0o711)) // the user's choice
	lab.Must(t, os.Mkdir(filepath.Join(dir, "run"), 0o755)) // of a container runtime
	for range 2 {
		lab.Must(t, makeVar(dir))
	}
	want := map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, "meta": 0o700, "lib": 0o755}
	for _, l := range hostpath.Links {
		want[l.Dir] = l.Mode
	}
	want["opt"] = 0o711
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&^fs.ModeDir != mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "run")); to != "../run" {
		t.Errorf("run leads to %q, %v, want ../run", to, err)
	}
}

// A directory in the way of /var/run is named, and nothing in it is removed.
func TestMakeVarKeepsFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run/kept")
	lab.Must(t, os.Mkdir(filepath.Dir(file), 0o755))
	lab.WriteFile(t, file, "x")
	if err := makeVar(dir); err == nil || !strings.Contains(err.Error(), "move away what is in it") {
		t.Errorf("error = %v, want what to do", err)
	}
	if lab.ReadFile(t, file) != "x" {
		t.Error("the file is gone")
	}
	if _, err := os.Stat(filepath.Join(dir, "opt")); err != nil {
		t.Errorf("the other directories are missing: %v", err)
	}
}

// Together the file systems in memory must not be able to take more than there is.
func TestTmpfsFitIntoMemory(t *testing.T) {
	sum := 0
	for _, r := range slices.Concat([]mount.Row{run}, first, pseudo, tmpfs) {
		if r.Type != "tmpfs" {
			continue
		}
		_, size, found := strings.Cut(r.Data[0], "size=")
		percent, err := strconv.Atoi(strings.TrimSuffix(size, "%"))
		if !found || err != nil {
			t.Errorf("%s has no size in percent", r)
		}
		sum += percent
	}
	if sum > 100 {
		t.Errorf("the file systems in memory may take %d %% of it, want at most 100", sum)
	}
}

// What is no file costs nothing but itself: PID 1 does not wait for it, and does not read
// without end.
func TestReadExecPaths(t *testing.T) {
	dir := t.TempDir()
	if paths, err := readExecPaths(filepath.Join(dir, "missing")); paths != nil || err != nil {
		t.Errorf("without a file: %q, %v", paths, err)
	}
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	lab.Must(t, unix.Mkfifo(pipe, 0o600))
	lab.WriteFile(t, large, "")
	lab.Must(t, os.Truncate(large, 1<<40))
	for _, file := range []string{pipe, large, dir, "/dev/zero"} {
		if paths, err := readExecPaths(file); paths != nil || err == nil {
			t.Errorf("readExecPaths(%s) = %q, %v, want an error", file, paths, err)
		}
	}
}

func TestAllowExecRefuses(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "var")
	lab.Must(t, os.MkdirAll(filepath.Join(dir, "lib"), 0o755))
	lab.Must(t, os.Symlink("var/opt", filepath.Join(root, "opt"))) // leads to nothing
	lab.Must(t, os.Symlink("/etc", filepath.Join(dir, "lib/away")))
	for path, want := range map[string]string{
		"lib/x":                        "begins with a slash",
		dir:                            "give a directory below",
		root + "/etc":                  "give a directory below",
		dir + "/log/x":                 "not in its log, meta or run",
		dir + "/meta":                  "not in its log, meta or run",
		dir + "/lib/away/x":            "give a directory below",
		dir + "/lib/../../etc":         "give a directory below",
		filepath.Join(root, "opt/kat"): "leads to nothing",
	} {
		if err := allowExecIn(path, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("allowExecIn(%s) = %v, want %q", path, err, want)
		}
	}
	if _, err := os.Stat(root + "/etc"); err == nil {
		t.Error("a refused directory was made")
	}
}

// An empty directory in place of a file goes, all else stays.
func TestRemoveFalseDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	lab.WriteFile(t, file, "x")
	removeFalseDir(file)
	removeFalseDir(filepath.Join(dir, "none"))
	if lab.ReadFile(t, file) != "x" {
		t.Error("the file is gone")
	}
	empty := filepath.Join(dir, "localtime")
	lab.Must(t, os.Mkdir(empty, 0o755))
	removeFalseDir(empty)
	if _, err := os.Stat(empty); err == nil {
		t.Error("the empty directory stayed")
	}
}
