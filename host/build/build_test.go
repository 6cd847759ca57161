package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
	"kios/host/filetree"
	"kios/host/oci"
	"kios/internal/hostpath"
	"kios/test/lab"
)

func TestFindRoot(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a/b")
	lab.Must(t, os.MkdirAll(below, 0o755))
	lab.WriteFile(t, filepath.Join(root, "versions.json"), "{}")
	lab.WriteFile(t, filepath.Join(root, "go.mod"), "module kios\n")
	lab.WriteFile(t, filepath.Join(below, "versions.json"), "{}") // another project's
	for _, dir := range []string{root, below} {
		if got, err := FindRoot(dir); got != root || err != nil {
			t.Errorf("FindRoot(%s) = %q, %v, want %s", dir, got, err, root)
		}
	}
	if got, err := FindRoot(t.TempDir()); err == nil {
		t.Errorf("FindRoot outside = %q, want an error", got)
	}
}

// A watchdog that runs on while the firmware starts would reset servers whose firmware
// takes long: that is up to the driver.
func TestWatchdogsAreUpToTheirDrivers(t *testing.T) {
	for _, a := range arch.All {
		if line := cmdline(a.Kernel); strings.Contains(line, "watchdog.") {
			t.Errorf("the kernel's command line is %q", line)
		}
	}
}

func TestCmdline(t *testing.T) {
	const common = "rootfstype=ramfs printk.devkmsg=on loglevel=6 panic=10 page_alloc.shuffle=1"
	want := map[string]string{
		"amd64": common + " console=tty0 console=ttyS0,115200",
		"arm64": common + " bonding.max_bonds=0 dummy.numdummies=0 ifb.numifbs=0 fb_tunnels=initns" +
			" console=tty0 console=ttyS0,115200 console=ttyAMA0,115200",
	}
	for _, a := range arch.All {
		if got := cmdline(a.Kernel); got != want[a.Name] {
			t.Errorf("cmdline(%s) = %q, want %q", a.Name, got, want[a.Name])
		}
	}
}

func TestNewRefuses(t *testing.T) {
	root := t.TempDir()
	if _, err := New(root, arch.Host(), nil); err == nil {
		t.Error("New without versions.json succeeds")
	}
	lab.WriteFile(t, filepath.Join(root, "versions.json"), "{")
	if _, err := New(root, arch.Host(), nil); err == nil || !strings.Contains(err.Error(), "versions.json") {
		t.Errorf("New with a damaged versions.json = %v, want an error that names it", err)
	}
	if _, err := New(root, arch.Arch{Name: "riscv64"}, nil); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("New for riscv64 = %v, want an error that names it", err)
	}
}

// A build that was killed leaves half a product under another name.
func TestPublish(t *testing.T) {
	b := &Builder{Root: t.TempDir(), Arch: arch.Host()}
	from := filepath.Join(t.TempDir(), "image.erofs")
	lab.Must(t, os.MkdirAll(b.Out(""), 0o755))
	lab.Must(t, os.WriteFile(b.Out(".x.kios-00000001"), []byte("half of an old one"), 0o444))
	lab.Must(t, os.WriteFile(b.Out("x"), []byte("old"), 0o444))
	lab.Must(t, os.WriteFile(from, []byte("new"), 0o600))
	lab.Must(t, b.publish("x", from))
	if got := lab.ReadFile(t, b.Out("x")); got != "new" {
		t.Errorf("the product is %q, want the new one", got)
	}
	if st, err := os.Stat(b.Out("x")); err != nil || st.Mode() != 0o644 {
		t.Errorf("its mode is %v, %v, want 0644", st.Mode(), err)
	}
	if _, err := os.Lstat(b.Out(".x.kios-00000001")); err == nil {
		t.Error("the temporary file is still there")
	}
	if err := b.publish("x", filepath.Join(b.Root, "none")); err == nil {
		t.Error("publish of a missing file succeeds")
	}
	if got := lab.ReadFile(t, b.Out("x")); got != "new" {
		t.Errorf("after a failure the product is %q, want the one before", got)
	}
}

func testImage(t *testing.T, content string) []oci.LayoutImage {
	t.Helper()
	layer := filepath.Join(t.TempDir(), "layer.erofs")
	lab.WriteFile(t, layer, content)
	return []oci.LayoutImage{{
		Image:  oci.Image{Name: "kios.local/test:1", Architecture: "amd64", Entrypoint: []string{"/test"}},
		Layers: []oci.Layer{{Title: "test", From: layer}},
	}}
}

func TestReplaceLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	blobs := filepath.Join(dir, "blobs")
	lab.Must(t, os.MkdirAll(dir+".tmp/blobs", 0o755)) // of one that was killed
	lab.Must(t, replaceLayout(dir, testImage(t, "one")))
	first, err := os.Stat(blobs)
	lab.Must(t, err)
	index := lab.ReadFile(t, filepath.Join(dir, "index.json"))

	lab.Must(t, replaceLayout(dir, testImage(t, "one")))
	if same, err := os.Stat(blobs); err != nil || !os.SameFile(first, same) {
		t.Errorf("an equal layout took the place of the one that was there (%v)", err)
	}
	lab.Must(t, replaceLayout(dir, testImage(t, "two")))
	if lab.ReadFile(t, filepath.Join(dir, "index.json")) == index {
		t.Error("another layout did not take the place of the one that was there")
	}
	files, err := filepath.Glob(filepath.Join(blobs, "sha256/*"))
	if err != nil || len(files) != 3 {
		t.Errorf("there are %d blobs (%v), want a layer, a configuration and a manifest", len(files), err)
	}
	if _, err := os.Stat(dir + ".tmp"); err == nil {
		t.Error("the temporary directory is still there")
	}
}

func TestLinkPrograms(t *testing.T) {
	dir := t.TempDir()
	for _, at := range []string{"/cache/1/", "/cache/2/"} {
		bin := map[string]string{"kubectl": at + "kubectl", "kubernetes": at + "kubernetes", "etcd": at + "etcd", "kube-proxy": at + "kube-proxy"}
		lab.Must(t, linkPrograms(dir, bin))
		for _, name := range []string{"kubectl", "kubernetes", "etcd"} {
			if got, err := os.Readlink(filepath.Join(dir, name)); got != bin[name] {
				t.Errorf("%s leads to %q, %v, want %s", name, got, err, bin[name])
			}
		}
	}
}

// What decides an image besides its files' contents changes the shape.
func TestTreeShape(t *testing.T) {
	tree := func(change func(dir string) error) string {
		dir := t.TempDir()
		lab.Must(t, os.Chmod(dir, 0o755))
		lab.Must(t, filetree.WriteFile(filepath.Join(dir, "bin/a"), []byte("text"), 0o555))
		lab.Must(t, filetree.Symlink(filepath.Join(dir, "bin/b"), "a"))
		lab.Must(t, change(dir))
		shape, err := treeShape(dir)
		lab.Must(t, err)
		return shape
	}
	want := tree(func(string) error { return nil })
	if got := tree(func(string) error { return nil }); got != want {
		t.Errorf("the shape of an equal tree is\n%swant\n%s", got, want)
	}
	for name, change := range map[string]func(dir string) error{
		"a file's mode":      func(dir string) error { return os.Chmod(filepath.Join(dir, "bin/a"), 0o755) },
		"a directory's mode": func(dir string) error { return os.Chmod(filepath.Join(dir, "bin"), 0o700) },
		"another directory":  func(dir string) error { return os.Mkdir(filepath.Join(dir, "empty"), 0o755) },
		"a link's name": func(dir string) error {
			return os.Rename(filepath.Join(dir, "bin/b"), filepath.Join(dir, "bin/c"))
		},
		"a link's target": func(dir string) error {
			link := filepath.Join(dir, "bin/b")
			return errors.Join(os.Remove(link), os.Symlink("c", link))
		},
	} {
		if got := tree(change); got == want {
			t.Errorf("%s does not change the shape", name)
		}
	}
}

func TestCertificateBundle(t *testing.T) {
	dir := t.TempDir()
	if _, err := certificateBundle(dir); err == nil {
		t.Error("a package without certificates makes a bundle")
	}
	for name, text := range map[string]string{"b.crt": "second\n\n", "a.crt": "first"} {
		lab.Must(t, filetree.WriteFile(filepath.Join(dir, "usr/share/ca-certificates/mozilla", name), []byte(text), 0o644))
	}
	got, err := certificateBundle(dir)
	if want := "first\nsecond\n"; string(got) != want || err != nil {
		t.Errorf("certificateBundle = %q, %v, want %q", got, err, want)
	}
}

// The zone must be one that others can read, too.
func TestUTCZone(t *testing.T) {
	zone := utcZone()
	loc, err := time.LoadLocationFromTZData("UTC", zone)
	lab.Must(t, err)
	name, offset := time.Unix(1e9, 0).In(loc).Zone()
	if name != "UTC" || offset != 0 || len(zone) != 114 {
		t.Errorf("zone %s with offset %d in %d bytes, want UTC, 0, 114", name, offset, len(zone))
	}
}

// A link of the root must not lead out of it, and a link into /var must not hide one
// that the root has.
func TestStageLinks(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, stageLinks(dir))
	for _, l := range hostpath.Links {
		if to, err := os.Readlink(filepath.Join(dir, l.Path)); to != l.Target() {
			t.Errorf("/%s leads to %q, %v, want %s", l.Path, to, err, l.Target())
		}
		if links[l.Path] != "" {
			t.Errorf("/%s is a link twice", l.Path)
		}
	}
	for path, target := range links {
		if filepath.IsAbs(target) || strings.HasPrefix(filepath.Join(filepath.Dir(path), target), "..") {
			t.Errorf("/%s leads to %s, out of the root", path, target)
		}
	}
}
