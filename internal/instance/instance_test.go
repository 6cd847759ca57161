package instance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

func TestRecord(t *testing.T) {
	root := t.TempDir()
	if r, err := Load(root); err != nil || r.Machine != "" || r.Files != nil {
		t.Errorf("Load without a record = %+v, %v", r, err)
	}
	want := Record{Machine: "i-1", Provider: "ec2", UUID: "ec2", Files: map[string]string{"/etc/a": "1"}, Asked: "2"}
	lab.Must(t, want.Save(root))
	got, err := Load(root)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Load = %v, (-want +got):\n%s", err, diff)
	}
	info, err := os.Stat(filepath.Join(root, File))
	lab.Must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("the record has the mode %v", info.Mode())
	}
	for _, bad := range []string{"{", "", strings.Repeat(" ", maxRecord+1)} {
		lab.WriteFile(t, filepath.Join(root, File), bad)
		if r, err := Load(root); err == nil {
			t.Errorf("Load of %.10q = %+v", bad, r)
		}
	}
}

// tree is what is below root: content, or -> target.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	lab.Must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if target, linkErr := os.Readlink(path); linkErr == nil {
			text, err = []byte("-> "+target), nil
		}
		all[strings.TrimPrefix(path, root)] = string(text)
		return err
	}))
	return all
}

func TestReset(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) { lab.WriteFile(t, filepath.Join(root, path), text) }
	write("/etc/hosts", "theirs")
	lab.Must(t, os.Symlink("../run/resolv.conf", filepath.Join(root, "etc/resolv.conf")))
	write("/etc/mine", "stays")
	r := Record{Machine: "i-1", Files: map[string]string{}}
	for _, path := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/kubernetes/bootstrap-kubelet.conf", "/etc/gone/x", "/etc/dir", "/run/x"} {
		lab.Must(t, Keep(root, path))
		r.Files[path] = "1"
	}
	write("/etc/hosts", "ours")
	lab.Must(t, os.Remove(filepath.Join(root, "etc/resolv.conf")))
	write("/etc/resolv.conf", "ours")
	write("/etc/kubernetes/bootstrap-kubelet.conf", "ours")
	write("/etc/dir/x", "of somebody")
	write("/var/lib/kubelet/pki/kubelet-server.crt", "x")
	write("/var/lib/kubelet/pki/deeper/x", "x")
	lab.Must(t, os.Symlink("kubelet-client-1.pem", filepath.Join(root, pki, "kubelet-client-current.pem")))
	write("/etc/kubernetes/kubelet.conf", "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem")
	lab.Must(t, r.Save(root))

	if kept, err := Kept(root, "/etc/hosts"); string(kept) != "theirs" || err != nil {
		t.Errorf("Kept = %q, %v", kept, err)
	}
	lab.Must(t, r.Reset(root))
	want := map[string]string{"/etc/hosts": "theirs", "/etc/resolv.conf": "-> ../run/resolv.conf", "/etc/mine": "stays", "/etc/dir/x": "of somebody"}
	if diff := cmp.Diff(want, tree(t, root)); diff != "" {
		t.Errorf("after Reset (-want +got):\n%s", diff)
	}
	r, err := Load(root)
	lab.Must(t, err)
	lab.Must(t, r.Reset(root)) // once more changes nothing
	if diff := cmp.Diff(want, tree(t, root)); diff != "" {
		t.Errorf("after another Reset (-want +got):\n%s", diff)
	}
}

// A power cut in a Reset has it done again: what has come back stays.
func TestResetInterrupted(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "etc/hosts")
	lab.WriteFile(t, path, "theirs")
	lab.Must(t, Keep(root, "/etc/hosts"))
	r := Record{Files: map[string]string{"/etc/hosts": "1"}}
	lab.Must(t, r.Save(root))
	lab.Must(t, Restore(root, "/etc/hosts"))
	lab.Must(t, r.Reset(root))
	if got := lab.ReadFile(t, path); got != "theirs" {
		t.Errorf("the file is %q", got)
	}
}

// A kubeconfig that is not made of the kubelet's certificate is not the record's business.
func TestResetLeavesTheUsersKubeconfig(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, kubeconfig)
	lab.WriteFile(t, path, "token: x")
	lab.Must(t, Record{}.Reset(root))
	if lab.ReadFile(t, path) != "token: x" {
		t.Error("it is gone")
	}
}

// A record is in a place where pods may write: what it says is bounded to what it is for.
func TestResetOfOtherPlaces(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{"/var/lib/x", "/etc/../var/lib/x", "/etc/link/x"} {
		lab.WriteFile(t, filepath.Join(root, "var/lib/x"), "stays")
		lab.WriteFile(t, filepath.Join(root, "etc/a"), "goes")
		_ = os.Symlink("../var/lib", filepath.Join(root, "etc/link"))
		r := Record{Files: map[string]string{path: "1", "/etc/a": "1"}}
		lab.Must(t, r.Save(root))
		if err := r.Reset(root); err == nil {
			t.Errorf("Reset of %s is no error", path)
		}
		if _, err := os.Stat(filepath.Join(root, "etc/a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Reset of %s leaves the other file: %v", path, err)
		}
		if _, err := Load(root); err != nil || lab.ReadFile(t, filepath.Join(root, "var/lib/x")) != "stays" {
			t.Errorf("Reset of %s: %v", path, err)
		}
	}
}

func TestCheck(t *testing.T) {
	root := t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "etc/file"), "")
	lab.Must(t, os.Symlink("file", filepath.Join(root, "etc/link")))
	for path, good := range map[string]bool{
		"/etc/a": true, "/etc/a/b/c": true, "/run/a": true, "/etc/file": true, "/etc/link": true,
		"/etc": false, "/etc/": false, "etc/a": false, "/etc/../a": false, "/etc/./a": false, "/var/a": false, "/etcetera/a": false, "": false,
		"/etc/file/a": false, "/etc/link/a": false, "/etc/file/a/b": false, "/etc/" + strings.Repeat("a", 241): false, "/etc/" + strings.Repeat("a/", 3000): false,
	} {
		if err := Check(root, path); (err == nil) != good || err != nil && len(err.Error()) > 600 {
			t.Errorf("Check(%.50q) = %v", path, err)
		}
	}
}

func TestKeepOfWhatIsNoFile(t *testing.T) {
	root := t.TempDir()
	lab.Must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	lab.Must(t, unix.Mkfifo(filepath.Join(root, "etc/fifo"), 0o600))
	if err := Keep(root, "/etc/fifo"); err == nil {
		t.Error("a named pipe can be kept")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(`{"instanceID":"i","files":{"/etc/a":"1"}}`)
	f.Add(`{"files":{"/etc/../x":"","/":""}}`)
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		lab.WriteFile(t, filepath.Join(root, File), text)
		lab.WriteFile(t, filepath.Join(root, "var/x"), "stays")
		if r, err := Load(root); err == nil {
			_ = r.Reset(root)
		}
		if lab.ReadFile(t, filepath.Join(root, "var/x")) != "stays" {
			t.Error("another file has changed")
		}
	})
}
