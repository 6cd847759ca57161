//go:build vm

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
	"kios/host/cpio"
	"kios/host/erofs"
	"kios/host/qemu"
	"kios/test/lab"
)

// perPackage bounds one package's tests on a machine with hardware
// virtualisation; see qemu.Machine.Scale.
const perPackage = 20 * time.Second

// guestTest is an entry of the guest's /tests.json.
type guestTest struct {
	Package string
	Binary  string
	Dir     string
	Run     string
	Timeout string

	source string // the package's directory on the host
}

func TestInGuest(t *testing.T) {
	root := lab.Root(t)
	tests := discover(t, root)
	if len(tests) == 0 {
		t.Fatal("no test file has the build tag guest")
	}
	kernel := lab.Kernel(t)
	accel, err := qemu.Probe(t.Context(), lab.Arch(t), kernel)
	lab.Must(t, err)
	work := t.TempDir()
	initrd := pack(t, root, work, tests, accel)
	m := boot(t, work, kernel, initrd, accel)
	ctx, cancel := context.WithTimeout(t.Context(), accel.Scale(time.Duration(len(tests)+2)*perPackage))
	defer cancel()
	end, waitErr := m.Wait(ctx)

	results, done := parse(texts(m.Lines()))
	for _, test := range tests {
		t.Run(strings.TrimPrefix(test.Package, "kios/"), func(t *testing.T) { report(t, test, results) })
	}
	if waitErr != nil || !done || end != qemu.PoweredOff {
		t.Errorf("the guest did not come to its end: %s %v; last lines:\n%s", end, waitErr, strings.Join(texts(m.Tail(40)), "\n"))
	}
}

func report(t *testing.T, test guestTest, results []result) {
	i := slices.IndexFunc(results, func(r result) bool { return r.pkg == test.Package })
	if i < 0 {
		t.Fatal("was not run: the guest ended before")
	}
	r := results[i]
	output := strings.Join(r.output, "\n")
	switch {
	case !r.ended:
		t.Errorf("the guest ended or hung in these tests:\n%s", output)
	case r.exit != 0:
		t.Errorf("exit code %d:\n%s", r.exit, output)
	default:
		t.Log("\n" + output)
	}
}

// discover finds the packages with test files that the tag guest adds, in all
// modules of the checkout.
func discover(t *testing.T, root string) []guestTest {
	t.Helper()
	names := map[string][]string{} // of tests, by directory
	err := lab.Tagged(root, func(path string, tags constraint.Expr) {
		if lab.Needs(tags, "guest") && strings.HasSuffix(path, "_test.go") {
			path = filepath.Join(root, path)
			names[filepath.Dir(path)] = append(names[filepath.Dir(path)], testNames(t, path)...)
		}
	})
	lab.Must(t, err)
	var tests []guestTest
	for dir, names := range names {
		if len(names) > 0 {
			tests = append(tests, newGuestTest(t, dir, names))
		}
	}
	slices.SortFunc(tests, func(a, b guestTest) int { return strings.Compare(a.Package, b.Package) })
	return tests
}

func newGuestTest(t *testing.T, dir string, names []string) guestTest {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "guest", ".")
	cmd.Dir = dir
	pkg := strings.TrimSpace(output(t, cmd))
	short := strings.ReplaceAll(strings.TrimPrefix(pkg, "kios/"), "/", "-")
	return guestTest{
		Package: pkg,
		Binary:  "/bin/" + short + ".test",
		Dir:     "/src/" + short,
		Run:     "^(" + strings.Join(names, "|") + ")$",
		source:  dir,
	}
}

// testNames lists the test functions of a file.
func testNames(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	lab.Must(t, err)
	var names []string
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// pack compiles everything and returns the path of the initramfs.
func pack(t *testing.T, root, work string, tests []guestTest, accel qemu.Accel) string {
	t.Helper()
	var archive bytes.Buffer
	w := cpio.NewWriter(&archive)
	must := func(err error) {
		t.Helper()
		lab.Must(t, err)
	}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp", "run", "src", "root"} {
		must(w.Dir(dir, 0o755))
	}
	must(w.CharDevice("dev/console", 0o600, 5, 1))
	initBinary := filepath.Join(work, "gotest")
	compile(t, root, "build", "-o", initBinary, "./test/guest/gotest")
	must(w.FileFrom("init", 0o755, initBinary))
	for i := range tests {
		test := &tests[i]
		test.Timeout = accel.Scale(perPackage).String()
		binary := filepath.Join(work, filepath.Base(test.Binary))
		compile(t, test.source, "test", "-c", "-tags", "guest", "-o", binary, ".")
		must(w.FileFrom(test.Binary, 0o755, binary))
		must(w.Dir(test.Dir, 0o755))
		testdata := filepath.Join(test.source, "testdata")
		if _, err := os.Stat(testdata); err == nil {
			must(w.Tree(test.Dir+"/testdata", testdata))
		}
	}
	modules := filepath.Join(work, "modules")
	must(erofs.Extract(t.Context(), lab.Out(t, "modules.erofs"), modules, erofs.Tools{}))
	must(w.Dir("lib", 0o755))
	must(w.Tree("lib/modules", modules))
	list, err := json.Marshal(tests)
	must(err)
	must(w.File("tests.json", 0o644, int64(len(list)), bytes.NewReader(list)))
	must(w.Close())
	initrd := filepath.Join(work, "initrd")
	must(os.WriteFile(initrd, archive.Bytes(), 0o600))
	return initrd
}

func compile(t *testing.T, dir string, args ...string) {
	t.Helper()
	args = append([]string{args[0], "-trimpath", "-ldflags=-s -w"}, args[1:]...)
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), lab.Arch(t).Go, []string{"CGO_ENABLED=0"})
	output(t, cmd)
}

func boot(t *testing.T, work, kernel, initrd string, accel qemu.Accel) *qemu.Machine {
	t.Helper()
	disk := filepath.Join(work, "disk")
	lab.Must(t, os.WriteFile(disk, nil, 0o600))
	lab.Must(t, os.Truncate(disk, 64<<20))
	discs, volume := volumes(t, work)
	a := lab.Arch(t)
	m, err := qemu.Start(t.Context(), qemu.Config{
		Arch:      a,
		Kernel:    kernel,
		Initrd:    initrd,
		Append:    commandLine(a),
		Disks:     []qemu.Disk{{Path: disk, Unsafe: true}, volume},
		Memory:    1 << 30,
		NoNetwork: true,
		NoReboot:  true,
		Dir:       work,
		Accel:     accel,
		CDs:       discs,
		Args:      hardware(a),
	})
	lab.Must(t, err)
	t.Cleanup(m.Kill)
	return m
}

// hardware is what tests want besides: a device whose driver is a module, and a watchdog.
func hardware(a arch.Arch) []string {
	args := []string{"-device", "sdhci-pci"}
	if card := a.QEMU.Watchdog; card != "" {
		args = append(args, "-device", card)
	}
	return args
}

// commandLine is that of the kernel of a machine that runs tests, with what a node's has.
func commandLine(a arch.Arch) string {
	return strings.TrimSpace(a.Kernel.Cmdline + " console=" + a.QEMU.Console + " loglevel=4 panic=-1 rdinit=/init")
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.Bytes())
	}
	return string(out)
}

func texts(lines []qemu.Line) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = line.Text
	}
	return out
}
