//go:build guest

package mountcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/init/mount"
	"kios/test/lab"
)

// on returns the topmost mount on target, and fails if there is none.
func on(t *testing.T, target string) mount.Info {
	t.Helper()
	infos, err := mount.List()
	lab.Must(t, err)
	info, found := mount.Find(infos, target)
	if !found {
		t.Fatalf("nothing is mounted on %s", target)
	}
	return info
}

// mnt runs the command mount and fails the test unless it succeeds.
func mnt(t *testing.T, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := Mount(args, &stdout, &stderr); code != 0 {
		t.Fatalf("mount %s = %d, %s", strings.Join(args, " "), code, stderr.String())
	}
}

func umnt(args ...string) (int, string) {
	var stdout, stderr bytes.Buffer
	code := Umount(args, &stdout, &stderr)
	return code, stderr.String()
}

// scratch returns a tmpfs that is private, with nosuid, nodev and noexec.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mnt(t, "-t", "tmpfs", "-o", "size=1m,nosuid,nodev,noexec,private", "tmpfs", dir)
	t.Cleanup(func() {
		if code, text := umnt("-R", "-l", dir); code != 0 {
			t.Errorf("clean up: %s", text)
		}
	})
	return dir
}

func TestCommandFlags(t *testing.T) {
	dir := scratch(t)
	if got, want := on(t, dir).Options, "rw,nosuid,nodev,noexec,relatime"; got != want {
		t.Errorf("options = %q, want %q", got, want)
	}
	if super := on(t, dir).Super; !strings.Contains(super, "size=1024k") {
		t.Errorf("tmpfs options = %q, want size=1024k in them", super)
	}
}

// TestReadOnlyBind makes the two calls of the kubelet for a read-only subPath.
func TestReadOnlyBind(t *testing.T) {
	dir := scratch(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	os.Mkdir(a, 0o755)
	os.Mkdir(b, 0o755)
	mnt(t, "--no-canonicalize", "-o", "bind", a, b)
	mnt(t, "--no-canonicalize", "-o", "bind,remount,ro", a, b)
	if got, want := on(t, b).Options, "ro,nosuid,nodev,noexec,relatime"; got != want {
		t.Errorf("options = %q, want %q", got, want)
	}
	mnt(t, "-o", "remount,bind,rw,exec", b)
	if got, want := on(t, b).Options, "rw,nosuid,nodev,relatime"; got != want {
		t.Errorf("options after exec = %q, want %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(b, "x"), nil, 0o644); err != nil {
		t.Error(err)
	}
}

func TestPropagation(t *testing.T) {
	dir := scratch(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	os.MkdirAll(filepath.Join(a, "inner"), 0o755)
	os.Mkdir(b, 0o755)
	mnt(t, "--bind", "--make-rshared", a, a)
	mnt(t, "-o", "rbind,rslave", a, b)
	mnt(t, "-t", "tmpfs", "tmpfs", filepath.Join(a, "inner"))
	on(t, filepath.Join(b, "inner"))
}

func TestUnmount(t *testing.T) {
	dir := scratch(t)
	if code, text := umnt(filepath.Join(dir, "missing")); code != exitFail || !strings.Contains(text, "no mount point specified") {
		t.Errorf("umount of a missing path = %d, %q", code, text)
	}
	sub := filepath.Join(dir, "sub")
	os.Mkdir(sub, 0o755)
	if code, text := umnt(sub); code != exitFail || text != "umount: "+sub+": not mounted.\n" {
		t.Errorf("umount of a directory = %d, %q", code, text)
	}
	mnt(t, "-t", "tmpfs", "tmpfs", sub)
	f, err := os.Create(filepath.Join(sub, "open"))
	lab.Must(t, err)
	defer f.Close()
	if code, text := umnt(sub); code != exitFail || !strings.Contains(text, "busy") {
		t.Errorf("umount of a busy mount = %d, %q", code, text)
	}
	if code, text := umnt("-l", sub); code != 0 {
		t.Errorf("umount -l = %d, %q", code, text)
	}
}
