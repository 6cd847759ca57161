package debimage

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/oci"
	"kios/test/lab"
)

// forest is a few package trees with programs and libraries that gcc made for an
// architecture.
type forest struct {
	t    *testing.T
	arch arch.Arch
	lib  string // where its libraries are
	dir  string
}

// newForest is one with programs that run on this machine.
func newForest(t *testing.T) forest {
	t.Helper()
	return forestOf(t, arch.Host())
}

func forestOf(t *testing.T, a arch.Arch) forest {
	t.Helper()
	if _, err := exec.LookPath(a.Tool("gcc")); err != nil {
		t.Skipf("%v: apt-get install %s", err, strings.Join(a.ToolPackages(), " "))
	}
	return forest{t, a, "usr/lib/" + a.Triplet + "/", t.TempDir()}
}

func (f forest) tree(name string) string { return filepath.Join(f.dir, name) }

// gcc runs the compiler and returns what it prints.
func (f forest) gcc(args ...string) string {
	f.t.Helper()
	return lab.Run(f.t, f.arch.Tool("gcc"), args...)
}

// compile makes the ELF file at path, in the tree, of a line of C.
func (f forest) compile(tree, path, source string, flags ...string) {
	f.t.Helper()
	at := filepath.Join(f.tree(tree), path)
	lab.Must(f.t, os.MkdirAll(filepath.Dir(at), 0o755))
	c := filepath.Join(f.dir, "source.c")
	lab.WriteFile(f.t, c, source+"\n")
	f.gcc(append([]string{"-o", at, c}, flags...)...)
}

func (f forest) write(tree, path, content string, mode fs.FileMode) {
	f.t.Helper()
	at := filepath.Join(f.tree(tree), path)
	lab.Must(f.t, os.MkdirAll(filepath.Dir(at), 0o755))
	lab.Must(f.t, os.WriteFile(at, []byte(content), mode))
	lab.Must(f.t, os.Chmod(at, mode))
}

func (f forest) link(tree, path, target string) {
	f.t.Helper()
	at := filepath.Join(f.tree(tree), path)
	lab.Must(f.t, os.MkdirAll(filepath.Dir(at), 0o755))
	lab.Must(f.t, os.Symlink(target, at))
}

// grow makes a program that needs liba, which needs libb: both have links with
// their sonames, as Debian does it. The C library is the compiler's.
func (f forest) grow() {
	f.t.Helper()
	f.compile("libb", f.lib+"libb.so.2.0.1", "int b(void) { return 40; }", "-shared", "-fPIC", "-Wl,-soname,libb.so.2")
	f.link("libb", f.lib+"libb.so.2", "libb.so.2.0.1")
	f.compile("liba", f.lib+"liba.so.1.5", "int b(void); int a(void) { return b() + 2; }", "-shared", "-fPIC", "-Wl,-soname,liba.so.1",
		filepath.Join(f.tree("libb"), f.lib+"libb.so.2"))
	f.link("liba", f.lib+"liba.so.1", "liba.so.1.5")
	f.compile("tool", "usr/bin/tool", "#include <stdio.h>\nint a(void); int main(void) { printf(\"tool %d\\n\", a()); return 0; }",
		filepath.Join(f.tree("liba"), f.lib+"liba.so.1"), "-Wl,-rpath-link,"+filepath.Join(f.tree("libb"), f.lib))
	f.libc()
}

// interpreters are the paths where programs look for ld.so, and what Debian has there.
var interpreters = map[string][2]string{
	"amd64": {"usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
	"arm64": {"usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1"},
}

// libc lays out the compiler's C library as Debian's package does.
func (f forest) libc() {
	f.t.Helper()
	ld := interpreters[f.arch.Name]
	for _, name := range []string{"libc.so.6", filepath.Base(ld[0])} {
		data, err := os.ReadFile(strings.TrimSpace(f.gcc("-print-file-name=" + name)))
		lab.Must(f.t, err)
		f.write("libc6", f.lib+name, string(data), 0o755)
	}
	f.link("libc6", ld[0], ld[1])
}

func (f forest) trees(names ...string) []string {
	var dirs []string
	for _, n := range names {
		dirs = append(dirs, f.tree(n))
	}
	return dirs
}

func TestCollect(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) {
			f := forestOf(t, a)
			f.grow()
			f.write("tool", "etc/tool.conf", "x", 0o664)
			files, err := Collect(a, f.trees("tool", "liba", "libb", "libc6"), []string{"/bin/tool", "etc/tool.conf"})
			lab.Must(t, err)
			checkCollected(t, f, files)
			if a.Foreign() {
				return
			}
			if err := Check(t.Context(), files, []string{"/usr/bin/tool"}, "tool 42", ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkCollected compares files with those that the program of the forest needs.
func checkCollected(t *testing.T, f forest, files []oci.File) {
	t.Helper()
	type file struct{ Path, Mode, From string }
	var got []file
	for _, x := range files {
		got = append(got, file{x.Path, x.Mode.String(), strings.TrimPrefix(x.From, f.dir) + string(x.Data)})
	}
	ld := interpreters[f.arch.Name][0]
	top := filepath.Base(filepath.Dir(ld))
	want := []file{
		{"etc/tool.conf", "-rw-r--r--", "/tool/etc/tool.conf"},
		{top, "Lrwxrwxrwx", "usr/" + top},
		{"usr/bin/tool", "-rwxr-xr-x", "/tool/usr/bin/tool"},
		{f.lib + "liba.so.1", "-rwxr-xr-x", "/liba/" + f.lib + "liba.so.1.5"},
		{f.lib + "libb.so.2", "-rwxr-xr-x", "/libb/" + f.lib + "libb.so.2.0.1"},
		{f.lib + "libc.so.6", "-rwxr-xr-x", "/libc6/" + f.lib + "libc.so.6"},
		{ld, "-rwxr-xr-x", "/libc6/" + f.lib + filepath.Base(ld)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Collect (-want +got):\n%s", d)
	}
}

// ld.so loads a program that cannot run here, and says what it lacks.
func TestCheckLoads(t *testing.T) {
	f := newForest(t)
	f.grow()
	f.compile("other", f.lib+"libb.so.2", "int c(void) { return 0; }", "-shared", "-fPIC", "-Wl,-soname,libb.so.2")
	f.compile("static", "usr/bin/tool", "int main(void) { return 0; }", "-static")
	for name, tt := range map[string]struct {
		trees []string
		omit  string
		want  string
	}{
		"whole":        {f.trees("tool", "liba", "libb", "libc6"), "", ""},
		"no library":   {f.trees("tool", "liba", "libb", "libc6"), "libb.so.2", "libb.so.2 => not found"},
		"other symbol": {f.trees("tool", "liba", "other", "libc6"), "", "undefined symbol: b"},
		"static":       {f.trees("static"), "", "no library is loaded"},
	} {
		files, err := Collect(f.arch, tt.trees, []string{"usr/bin/tool"})
		lab.Must(t, err)
		files = slices.DeleteFunc(files, func(x oci.File) bool { return filepath.Base(x.Path) == tt.omit })
		err = checkLoads(t.Context(), files, "/usr/bin/tool", "")
		if (tt.want == "" && err != nil) || (tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want))) {
			t.Errorf("%s: checkLoads = %v, want %q", name, err, tt.want)
		}
	}
}

// What runs programs of another architecture is in the root directory while they run, and is
// not in the image.
func TestCheckWithAnEmulator(t *testing.T) {
	f := newForest(t)
	f.compile("t", "qemu", "#include <stdio.h>\nint main(int n, char **a) { printf(\"%d %s %s\\n\", n, a[1], a[2]); return 0; }", "-static")
	files := []oci.File{{Path: "etc/file", Mode: 0o444, Data: []byte("x")}}
	qemu := filepath.Join(f.tree("t"), "qemu")
	if err := Check(t.Context(), files, []string{"/usr/bin/tool", "-V"}, "3 /usr/bin/tool -V", qemu); err != nil {
		t.Error(err)
	}
	if len(files) != 1 {
		t.Errorf("the image has %d files then, want 1", len(files))
	}
}

// A program that needs more of netlink than qemu-user has is loaded there, and run elsewhere.
func TestProbeOfNetlink(t *testing.T) {
	f := newForest(t)
	f.grow()
	files, err := Collect(f.arch, f.trees("tool", "liba", "libb", "libc6"), []string{"usr/bin/tool"})
	lab.Must(t, err)
	f.compile("t", "qemu", "#include <unistd.h>\nint main(int n, char **a) { return execv(a[1], a + 1); }", "-static")
	r := Recipe{Probes: []Probe{{Package: "tool", Command: []string{"/usr/bin/tool"}, Netlink: true}}}
	versions := map[string]string{"tool": "43"} // it prints 42
	if err := r.Check(t.Context(), files, versions, filepath.Join(f.tree("t"), "qemu")); err != nil {
		t.Errorf("by an emulator: %v", err)
	}
	if err := r.Check(t.Context(), files, versions, ""); err == nil || !strings.Contains(err.Error(), "43") {
		t.Errorf("by itself: %v, want an error about the version", err)
	}
}

func TestCollectErrors(t *testing.T) {
	f := newForest(t)
	f.grow()
	f.link("tool", "usr/bin/dangling", "/usr/bin/nothing")
	f.link("tool", "usr/bin/loop", "loop")
	f.write("tool", "usr/bin/broken", "\x7fELF and no more", 0o755)
	for _, tt := range []struct {
		trees []string
		path  string
		want  string
	}{
		{f.trees("tool", "liba", "libc6"), "usr/bin/tool", "/" + f.lib + "liba.so.1 needs the library libb.so.2, which is in none of the packages"},
		{f.trees("tool", "liba", "libb"), "usr/bin/tool", "the interpreter of /usr/bin/tool: /" + interpreters[f.arch.Name][0] + ": file does not exist"},
		{f.trees("tool"), "/usr/bin/tol", "/usr/bin/tol: file does not exist in any of the packages"},
		{f.trees("tool"), "usr/bin/dangling", "/usr/bin/dangling leads to /usr/bin/nothing: file does not exist"},
		{f.trees("tool"), "usr/bin/loop", "/usr/bin/loop: too many links"},
		{f.trees("tool"), "usr/bin", "/usr/bin is not a file"},
		{f.trees("tool"), "usr/bin/broken", "read /usr/bin/broken: "},
	} {
		_, err := Collect(f.arch, tt.trees, []string{tt.path})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Collect(%q) = %v, want %q", tt.path, err, tt.want)
		}
	}
}

// A library that lies apart is found by the program's RUNPATH.
func TestRunpath(t *testing.T) {
	for _, dir := range []string{"/usr/lib/tool", "$ORIGIN/../lib/tool"} {
		f := newForest(t)
		f.libc()
		f.compile("tool", "usr/lib/tool/libx.so", "int x(void) { return 7; }", "-shared", "-fPIC", "-Wl,-soname,libx.so")
		f.compile("tool", "usr/bin/tool", "int x(void); int main(void) { return x() - 7; }",
			filepath.Join(f.tree("tool"), "usr/lib/tool/libx.so"), "-Wl,-rpath,"+dir)
		files, err := Collect(f.arch, f.trees("tool", "libc6"), []string{"usr/bin/tool"})
		if err != nil {
			t.Fatalf("with RUNPATH %s: %v", dir, err)
		}
		if !slices.ContainsFunc(files, func(x oci.File) bool { return x.Path == "usr/lib/tool/libx.so" }) {
			t.Errorf("with RUNPATH %s, the library is not among %v", dir, files)
		}
		if strings.HasPrefix(dir, "$") {
			continue // ld.so learns its origin from /proc, which is not there
		}
		if err := Check(t.Context(), files, []string{"/usr/bin/tool"}, "", ""); err != nil {
			t.Error(err)
		}
	}
}

func TestCheck(t *testing.T) {
	f := newForest(t)
	f.compile("t", "ok", "int main(void) { return 0; }", "-static")
	f.compile("t", "fails", "#include <stdio.h>\nint main(void) { puts(\"no way\"); return 3; }", "-static")
	files := []oci.File{
		{Path: "ok", Mode: 0o555, From: filepath.Join(f.tree("t"), "ok")},
		{Path: "/fails", Mode: 0o555, From: filepath.Join(f.tree("t"), "fails")},
	}
	for _, tt := range []struct{ argv, output, want string }{
		{"/ok", "", ""},
		{"/ok", "1.2", `it does not print "1.2"`},
		{"/fails", "", "exit status 3: no way"},
		{"/missing", "", "no such file"},
	} {
		err := Check(t.Context(), files, []string{tt.argv}, tt.output, "")
		if (tt.want == "" && err != nil) || (tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want))) {
			t.Errorf("Check(%s, %q) = %v, want %q", tt.argv, tt.output, err, tt.want)
		}
	}
}

func TestUpstream(t *testing.T) {
	for version, want := range map[string]string{
		"4.6.1-3+deb13u2":     "4.6.1",
		"2:6.3.0+dfsg-3":      "6.3.0+dfsg",
		"3.1-20250104-1":      "3.1-20250104",
		"20250419+deb13u1":    "20250419+deb13u1",
		"1:2.75-10+deb13u1-1": "2.75-10+deb13u1",
	} {
		if got := upstream(version); got != want {
			t.Errorf("upstream(%q) = %q, want %q", version, got, want)
		}
	}
}

func TestParseRecipeMistakes(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"no probes":     "{title: a, packages: [{name: b, licence: MIT}], paths: [/c]}",
		"no command":    "{title: a, packages: [{name: b, licence: MIT}], paths: [/c], probes: [{package: b}]}",
		"unknown field": "{title: a, packages: [{name: b, license: MIT}], paths: [/c], probes: [{package: b, command: [/c]}]}",
	} {
		if r, err := ParseRecipe([]byte(text)); err == nil {
			t.Errorf("%s: ParseRecipe = %+v, want an error", name, r)
		}
	}
}

func TestLicenceAndOrigin(t *testing.T) {
	r := Recipe{Packages: []Package{{"a", "MIT"}, {"b", "X OR Y"}, {"c", "MIT"}, {"d", "(X OR Y) AND Z"}}}
	if got, want := r.Licence(), "MIT AND (X OR Y) AND (X OR Y) AND Z"; got != want {
		t.Errorf("Licence = %q, want %q", got, want)
	}
	if got, want := r.Origin(map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}), "Debian a 1, b 2, c 3, d 4"; got != want {
		t.Errorf("Origin = %q, want %q", got, want)
	}
}
