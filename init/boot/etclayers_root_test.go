//go:build root

package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// What a user has in place of a directory or a file of the OS hides what the node cannot do
// without. It is put aside, in whatever layer it is.
func TestWhatHidesTheSystemsOwn(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const manifest = "kubernetes/manifests/network.yaml"
	socket := func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }
	device := func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, 1<<8|5) }
	file := func(path string) error { return os.WriteFile(path, []byte("a: [\n"), 0o000) }
	loop := func(path string) error { return os.Symlink(filepath.Base(path), path) }
	full := func(path string) error { return os.MkdirAll(filepath.Join(path, "in/it"), 0o755) }
	fifo := func(path string) error { return unix.Mkfifo(path, 0o600) }
	toNowhere := func(path string) error { return os.Symlink("../gone/file", path) }
	here := func(path string) error { return os.Symlink(".", path) }
	null := func(path string) error { return os.Symlink(os.DevNull, path) }
	for _, tt := range []struct {
		name string
		make func(string) error
		want string // "" if it stays
	}{
		{"kubernetes", file, "is a file, and must be a directory: it is kept as "},
		{"kubernetes", toNowhere, "is a link that leads nowhere, and must be a directory"},
		{"kubernetes", loop, "is a link that leads nowhere"},
		{"kubernetes", here, "is a link, and must be a directory"},
		{"cni", here, ""},
		{"kubernetes/manifests", fifo, "is a named pipe, and must be a directory"},
		{"kubernetes/manifests", socket, "is a socket, and must be a directory"},
		{"kubernetes/manifests", null, "is a link, and must be a directory"},
		{"cni", file, "is a file, and must be a directory"},
		{manifest, fifo, "is a named pipe, and must be a file"},
		{manifest, device, "is a device, and must be a file"},
		{manifest, full, "is a directory, and must be a file"},
		{manifest, toNowhere, "is a link that leads nowhere, and must be a file"},
		{manifest, null, ""},
		{"kios", file, "is a file, and must be a directory"},
		{"machine-id", full, "is a directory, and must be a file"},
		{"kios/network.yaml", fifo, ""}, // costs only itself, as the pod says
	} {
		for _, layer := range []string{"upper", "extra"} {
			checkHidden(t, layer, tt.name, tt.make, tt.want)
		}
	}
}

func checkHidden(t *testing.T, layer, name string, spoil func(string) error, want string) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	lab.Must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	lab.WriteFile(t, at("own/kubernetes/manifests/network.yaml"), "the pod network\n")
	lab.WriteFile(t, at("own/cni/net.d/README"), "")
	lab.WriteFile(t, at("own/passwd"), "root\n")
	lab.WriteFile(t, at("extra/motd"), "hello\n")
	lab.Must(t, os.MkdirAll(at("etc"), 0o755))
	lab.Must(t, os.MkdirAll(filepath.Dir(at(layer+"/"+name)), 0o755))
	lab.Must(t, spoil(at(layer+"/"+name)))
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	lab.Must(t, (&layers{at("etc"), []string{at("extra"), at("own")}, at("upper"), at("work")}).mount(say))
	defer unix.Unmount(at("etc"), 0)

	text := strings.Join(said, "\n")
	if (want == "") != (text == "") || !strings.Contains(text, want) || len(said) > 1 {
		t.Errorf("%s in %s: said %q, want %q", name, layer, said, want)
	}
	if want == "" {
		return
	}
	if !strings.Contains(text, at("etc/"+name)+" ") {
		t.Errorf("%q does not name %s", text, name)
	}
	if got := lab.ReadFile(t, at("etc/kubernetes/manifests/network.yaml")); got != "the pod network\n" {
		t.Errorf("%s in %s: the manifest is %q", name, layer, got)
	}
	if _, err := os.Lstat(at("etc/" + name + ".bad")); err != nil {
		t.Errorf("%s in %s is not kept: %v", name, layer, err)
	}
}

// A layer that cannot be written to is left out.
func TestHiddenOnADiskThatCannotBeWritten(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	lab.Must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	lab.WriteFile(t, at("own/kubernetes/manifests/network.yaml"), "the pod network\n")
	lab.WriteFile(t, at("disk/kubernetes"), "")
	lab.Must(t, os.MkdirAll(at("etc"), 0o755))
	lab.Must(t, unix.Mount(at("disk"), at("disk"), "", unix.MS_BIND, ""))
	lab.Must(t, unix.Mount("", at("disk"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	lab.Must(t, (&layers{at("etc"), []string{at("disk"), at("own")}, at("upper"), at("work")}).mount(say))
	if got := lab.ReadFile(t, at("etc/kubernetes/manifests/network.yaml")); got != "the pod network\n" || len(said) != 1 || !strings.Contains(said[0], "read-only file system: no file that is with it in ") {
		t.Errorf("the manifest is %q; said %q", got, said)
	}
}
