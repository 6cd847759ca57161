//go:build guest

package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/init/mount"
	"kios/internal/hostpath"
	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// hostRoot returns a root with a strict /var, as on a node.
func hostRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	row := mount.Row{Source: "tmpfs", Target: root, Type: "tmpfs", Flags: mount.Strict, Data: []string{"mode=0755,size=1m"}}
	lab.Must(t, row.Mount())
	lab.Must(t, unix.Mount("", root, "", unix.MS_PRIVATE|unix.MS_REC, ""))
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	lab.Must(t, os.MkdirAll(filepath.Join(root, "var"), 0o755))
	lab.Must(t, os.MkdirAll(filepath.Join(root, "usr"), 0o755))
	for _, l := range hostpath.Links {
		lab.Must(t, os.Symlink(l.Target(), filepath.Join(root, l.Path)))
	}
	lab.Must(t, makeVar(filepath.Join(root, "var")))
	return root
}

// runs reports whether a program in dir may be executed.
func runs(t *testing.T, dir string) bool {
	t.Helper()
	program := filepath.Join(dir, "program")
	self, err := os.Executable()
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(program, []byte("#!"+self+" -test.run=^$\n"), 0o755))
	err = exec.Command(program).Run()
	return err == nil || !strings.Contains(err.Error(), "permission denied")
}

// TestMountPrograms demands that programs run where the node runs them from, that
// they are kept in /var, and that they run nowhere else.
func TestMountPrograms(t *testing.T) {
	root := hostRoot(t)
	lab.Must(t, mountPrograms(root))
	for _, p := range programs {
		if !runs(t, filepath.Join(root, p.target)) {
			t.Errorf("programs in %s do not run", p.target)
		}
		kept := filepath.Join(root, programsDir, p.name)
		if _, err := os.Stat(filepath.Join(kept, "program")); err != nil {
			t.Errorf("what is written to %s is not kept: %v", p.target, err)
		}
		if runs(t, kept) {
			t.Errorf("programs in %s run", kept)
		}
	}
	for _, dir := range []string{"opt", "opt/cni", "usr/local", "var/lib"} {
		if runs(t, filepath.Join(root, dir)) {
			t.Errorf("programs in /%s run", dir)
		}
	}
}

func TestAllowExec(t *testing.T) {
	root := hostRoot(t)
	dir := filepath.Join(root, "var")
	for _, path := range []string{"var/lib/longhorn", "opt/kata"} {
		path = filepath.Join(root, path)
		lab.Must(t, allowExecIn(path, dir))
		if !runs(t, path) {
			t.Errorf("programs in %s do not run", path)
		}
		infos, err := mount.List()
		lab.Must(t, err)
		real, err := filepath.EvalSymlinks(path)
		lab.Must(t, err)
		if m, _ := mount.Find(infos, real); !strings.Contains(m.Options, "nosuid,nodev") {
			t.Errorf("%s is mounted %s, want nosuid,nodev", path, m.Options)
		}
	}
	if runs(t, filepath.Join(root, "var/lib")) {
		t.Error("programs beside it run, too")
	}
}

// TestBorrowVar has a partition that can only be read: what pods have there is where it
// was, and a network's pod can write its programs all the same.
func TestBorrowVar(t *testing.T) {
	from := filepath.Join(dataDir, "data/var")
	for _, file := range []string{"opt/app/data", "exec/cni/plugin", "cache/x"} {
		lab.Must(t, os.MkdirAll(filepath.Join(from, filepath.Dir(file)), 0o755))
		lab.WriteFile(t, filepath.Join(from, file), "x")
	}
	row := mount.Row{Source: "tmpfs", Target: "/var", Type: "tmpfs", Flags: mount.Strict}
	lab.Must(t, row.Mount())
	lab.Must(t, unix.Mount("", "/var", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	t.Cleanup(func() { unix.Unmount("/var", unix.MNT_DETACH) })
	lab.Must(t, makeVar("/var"))
	n, log := node(t)
	n.work.data = data{device: "/dev/test", readOnly: true}
	n.borrowVar()
	if log.Len() > 0 {
		t.Errorf("log: %s", log)
	}
	for _, file := range []string{"/var/opt/app/data", "/var/exec/cni/plugin"} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile("/var/opt/app/data", nil, 0o644); err == nil {
		t.Error("what is on the partition can be written to")
	}
	lab.Must(t, os.WriteFile("/var/exec/cni/plugin", []byte("new"), 0o755))
	if _, err := os.Stat("/var/cache/x"); err == nil {
		t.Error("the cache is borrowed")
	}
}
