// Package gobuild compiles the upstream programs, each from a Go module of its
// own so that it gets exactly the dependencies that its project tested, and
// keeps the binaries in the cache. It also compiles our own programs, for which
// Go's build cache is enough.
//
// The results depend on sources, versions and flags only: paths of the build
// machine are trimmed, and there are no time stamps and no build IDs.
package gobuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/hosttool"
	"kios/host/progress"
)

// Program is a program to compile.
type Program struct {
	Name    string // of the binary
	Dir     string // the module, below the checkout
	ModFile string // in Dir, if it is not go.mod
	Package string // what to compile, as go build takes it
	Module  string // the upstream module, whose version go.mod gives
	Tags    string
	// LDFlags returns flags for the linker besides those of every program,
	// given the upstream module's version.
	LDFlags func(version string) string
	// Test makes the program that runs a package's tests.
	Test bool
	// CGO compiles with the C compiler, and links everything statically.
	CGO bool
}

// Upstream are the programs that are not ours. The tags leave out what a node
// does not use: tracing, documentation generators, and WebAssembly in NRI.
var Upstream = []Program{
	{
		Name:    "containerd",
		Dir:     "upstream/containerd",
		Package: ".",
		Module:  containerd,
		Tags:    "urfave_cli_no_docs,no_tracing,grpcnotrace,nri_no_wasm",
		LDFlags: containerdVersion,
	},
	{
		Name:    "containerd-shim-runc-v2",
		Dir:     "upstream/containerd",
		Package: "./shim",
		Module:  containerd,
		Tags:    "urfave_cli_no_docs,no_tracing,grpcnotrace,nri_no_wasm",
		LDFlags: containerdVersion,
	},
	{
		// As runc's own Makefile builds static binaries.
		Name:    "runc",
		Dir:     "upstream/runc",
		Package: "github.com/opencontainers/runc",
		Module:  "github.com/opencontainers/runc",
		Tags:    "seccomp,urfave_cli_no_docs,netgo,osusergo",
		CGO:     true,
	},
	{
		Name:    "kubelet",
		Dir:     "upstream/kubelet",
		Package: ".",
		Module:  "k8s.io/kubernetes",
		Tags:    "selinux,notest,grpcnotrace",
		LDFlags: kubernetesVersion,
	},
}

// UpstreamShim is the shim as upstream builds it, for comparisons.
var UpstreamShim = Program{
	Name:    "upstream-shim",
	Dir:     "upstream/containerd",
	Package: containerd + "/cmd/containerd-shim-runc-v2",
	Module:  containerd,
	Tags:    "urfave_cli_no_docs,no_tracing,grpcnotrace,nri_no_wasm",
	LDFlags: containerdVersion,
}

const containerd = "github.com/containerd/containerd/v2"

func containerdVersion(v string) string {
	return fmt.Sprintf("-X %[1]s/version.Version=%[2]s -X %[1]s/version.Revision= -X %[1]s/version.Package=%[1]s", containerd, v)
}

// kubernetesVersion sets what upstream's release scripts set. A module has no
// commit and no date of build, so those stay empty and at the epoch.
func kubernetesVersion(v string) string {
	numbers := strings.Split(strings.TrimPrefix(v, "v"), ".")
	var flags strings.Builder
	for _, pkg := range []string{"k8s.io/client-go/pkg/version", "k8s.io/component-base/version"} {
		for _, set := range [][2]string{
			{"gitVersion", v}, {"gitMajor", numbers[0]}, {"gitMinor", numbers[1]},
			{"gitTreeState", "clean"}, {"gitCommit", ""}, {"buildDate", "1970-01-01T00:00:00Z"},
		} {
			fmt.Fprintf(&flags, "-X %s.%s=%s ", pkg, set[0], set[1])
		}
	}
	return flags.String()
}

// Target is what programs are compiled for.
type Target struct {
	Arch arch.Arch
	C    *Sysroot // for programs with C
}

// Sysroot is where C libraries and their headers are that programs with C are linked with
// besides the compiler's own: not in this machine's directories, which have none for
// another architecture, and change with each update.
type Sysroot struct {
	Dir string // with usr/include and usr/lib/TRIPLET
}

// host is for what the go command says of modules, which is the same everywhere.
func host() Target { return Target{Arch: arch.Host()} }

// Build compiles an upstream program of the checkout at root, or takes it from
// the cache, and returns the binary's path.
func Build(ctx context.Context, log *progress.Log, root string, t Target, p Program) (string, error) {
	dir := filepath.Join(root, p.Dir)
	args, err := p.args(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	key, err := p.key(ctx, t, dir, args)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	product, err := cache.Product(ctx, log, t.Arch.Product(p.Name), key, func(out string) error {
		step := log.Start("build " + p.Name)
		return step.End(p.compile(ctx, t, step, dir, append(args, "-o", filepath.Join(out, p.Name), p.Package)))
	})
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	return filepath.Join(product, p.Name), nil
}

// BuildOwn compiles a package of the checkout's own module to the file out, for an
// architecture.
// variables are set by the linker, as import path and name to value.
func BuildOwn(ctx context.Context, root string, a arch.Arch, pkg, out string, variables map[string]string) error {
	ldflags := "-s -w -buildid="
	for name, value := range variables {
		ldflags += fmt.Sprintf(" -X %s=%s", name, value)
	}
	args := append(buildArgs(), "-ldflags", ldflags, "-o", out, pkg)
	return run(ctx, root, Target{Arch: a}.environ(Program{}), args, io.Discard)
}

// buildArgs are the first arguments of go for every program. Debug information would
// be stripped; without it compilers have a tenth less to do. With the Makefile's
// GOFLAGS tests use the packages that are compiled like this.
func buildArgs() []string {
	return []string{"build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"}
}

func (p Program) args(ctx context.Context, dir string) ([]string, error) {
	version, err := p.moduleVersion(ctx, dir)
	if err != nil {
		return nil, err
	}
	ldflags := "-s -w -buildid="
	if p.LDFlags != nil {
		ldflags += " " + p.LDFlags(version)
	}
	args := append(buildArgs(), "-tags", p.Tags)
	if p.CGO { // not static-pie: docs/decisions/0008
		ldflags += " -linkmode external '-extldflags=-static -Wl,--build-id=none'"
	}
	return append(args, "-ldflags", ldflags), nil
}

// tool is a program whose version decides the binary.
type tool struct {
	remedy  string // for when it is missing
	command []string
}

// key takes in everything that decides the binary.
func (p Program) key(ctx context.Context, t Target, dir string, args []string) (*cache.Key, error) {
	parts := append([]string{p.Name, p.Package, cFlags}, slices.Concat(t.Arch.Go, args)...)
	tools := []tool{{"install Go 1.26 or newer", []string{"go", "version"}}}
	if p.CGO {
		tools = append(tools,
			tool{install(t.Arch), []string{t.Arch.Tool("gcc"), "--version"}},
			tool{install(t.Arch), []string{t.Arch.Tool("ld"), "--version"}},
			tool{"apt-get install pkg-config", []string{"pkg-config", "--version"}})
	}
	for _, tool := range tools {
		cmd := hosttool.Exec(ctx, tool.command[0], tool.command[1:]...)
		cmd.Dir, cmd.Env = dir, t.environ(p) // go.mod may ask for another Go
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w (%s)", strings.Join(tool.command, " "), err, tool.remedy)
		}
		parts = append(parts, string(out))
	}
	key := cache.NewKey(parts...)
	if err := key.AddTree(dir); err != nil {
		return nil, err
	}
	if p.CGO {
		if err := addLibraries(ctx, t, key); err != nil {
			return nil, err
		}
	}
	beside, err := p.replacements(ctx, dir)
	for _, path := range beside {
		err = errors.Join(err, key.AddTree(filepath.Join(dir, path)))
	}
	return key, err
}

// install is the remedy where a compiler or a linker is missing.
func install(a arch.Arch) string { return "apt-get install " + strings.Join(a.ToolPackages(), " ") }

// addLibraries takes in the libraries that are linked into programs with C: the
// compiler's, which changes with each security update of this machine, and the others.
func addLibraries(ctx context.Context, t Target, key *cache.Key) error {
	if t.C == nil {
		return errors.New("no directory with C libraries is given")
	}
	path, err := hosttool.Exec(ctx, t.Arch.Tool("gcc"), "-print-file-name=libc.a").Output()
	if err != nil {
		return fmt.Errorf("%s -print-file-name=libc.a: %w", t.Arch.Tool("gcc"), err)
	}
	if err := key.AddTree(strings.TrimSpace(string(path))); err != nil {
		return fmt.Errorf("%w (%s)", err, install(t.Arch))
	}
	return key.AddTree(t.C.Dir)
}

// replacements returns the directories outside of the module that go.mod names in
// place of other modules, as they are written there.
func (p Program) replacements(ctx context.Context, dir string) ([]string, error) {
	modFile := p.ModFile
	if modFile == "" {
		modFile = "go.mod"
	}
	cmd := hosttool.Exec(ctx, "go", "mod", "edit", "-json", modFile)
	cmd.Dir, cmd.Env = dir, host().environ(Program{})
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod edit -json %s: %w", modFile, err)
	}
	var mod struct {
		Replace []struct{ New struct{ Path string } }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return nil, fmt.Errorf("go mod edit -json %s: %w", modFile, err)
	}
	var outside []string
	for _, r := range mod.Replace {
		if strings.HasPrefix(r.New.Path, "../") {
			outside = append(outside, r.New.Path)
		}
	}
	return outside, nil
}

// compile runs go build and counts the packages that it compiles.
func (p Program) compile(ctx context.Context, t Target, step *progress.Step, dir string, args []string) error {
	if p.Test { // go test cannot tell
		return run(ctx, dir, t.environ(p), append([]string{"test", "-c"}, args[1:]...), io.Discard)
	}
	total, err := countPackages(ctx, t, dir, p)
	if err != nil {
		return err
	}
	counter := &lineCounter{each: func(n int) { step.Set(min(n, total), total) }}
	return run(ctx, dir, t.environ(p), append([]string{"build", "-v"}, args[1:]...), counter)
}

func countPackages(ctx context.Context, t Target, dir string, p Program) (int, error) {
	counter := &lineCounter{each: func(int) {}}
	cmd := hosttool.Exec(ctx, "go", "list", "-deps", "-tags", p.Tags, p.Package)
	cmd.Dir, cmd.Env, cmd.Stdout = dir, t.environ(p), counter
	var stderr tail
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return 0, explain(err, string(stderr))
	}
	return counter.n, nil
}

// Version returns the version of the upstream module, such as v1.37.2.
func (p Program) Version(ctx context.Context, root string) (string, error) {
	return p.moduleVersion(ctx, filepath.Join(root, p.Dir))
}

func (p Program) moduleVersion(ctx context.Context, dir string) (string, error) {
	cmd := hosttool.Exec(ctx, "go", "list", "-m", "-f", "{{.Version}}", p.Module)
	cmd.Dir, cmd.Env = dir, host().environ(p)
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", explain(err, string(stderr))
	}
	return strings.TrimSpace(string(out)), nil
}

// environ is the user's environment with all that changes a program's binary fixed.
func (t Target) environ(p Program) []string {
	env := append(os.Environ(), "GOWORK=off", "GOOS=linux", "GOEXPERIMENT=", "CGO_ENABLED=0")
	env = append(env, t.Arch.Go...)
	var flags []string
	if p.ModFile != "" {
		flags = append(flags, "-modfile="+p.ModFile)
	}
	// On two processors two compilers of one thread each take a tenth less time:
	// go would give both of them two, and their garbage collectors keep the other
	// from its processor. With many processors threads are needed, since single
	// packages hold up all others. The binary is the same.
	if runtime.GOMAXPROCS(0) == 2 {
		env = append(env, "GOMAXPROCS=1")
		flags = append(flags, "-p=2")
	}
	env = append(env, "GOFLAGS="+strings.Join(flags, " "))
	if p.CGO {
		env = append(env, "CGO_ENABLED=1", "CC="+t.Arch.Tool("gcc"), "CGO_CFLAGS="+cFlags, "CGO_LDFLAGS=")
		env = append(env, t.libraries()...)
	}
	return env
}

// cFlags are for the C compiler. Debug information would name the directories of the build.
const cFlags = "-g0 -O2"

// libraries has pkg-config look into the directory with C libraries, and nowhere else. The
// go command's cache does not ask what pkg-config says, but for flags: without that one, it
// would have programs linked with the libraries that were there before.
func (t Target) libraries() []string {
	if t.C == nil {
		return nil
	}
	return []string{
		"CGO_CFLAGS=" + cFlags + " " + quote("-I"+filepath.Join(t.C.Dir, "usr/include")),
		"PKG_CONFIG=pkg-config", "PKG_CONFIG_PATH=",
		"PKG_CONFIG_LIBDIR=" + filepath.Join(t.C.Dir, "usr/lib", t.Arch.Triplet, "pkgconfig"),
		"PKG_CONFIG_SYSROOT_DIR=" + t.C.Dir,
	}
}

// quote makes one word of a flag for the go command, which has no escapes in quotes.
func quote(flag string) string {
	if strings.Contains(flag, "'") {
		return `"` + flag + `"`
	}
	return "'" + flag + "'"
}

// run runs the go command and shows its last words if it fails.
func run(ctx context.Context, dir string, env, args []string, progress io.Writer) error {
	cmd := hosttool.Exec(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr tail
	cmd.Stderr = io.MultiWriter(&stderr, progress)
	if err := cmd.Run(); err != nil {
		return explain(err, string(stderr))
	}
	return nil
}

// explain adds the remedy to what the go command says.
func explain(err error, said string) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("the go command is not in PATH: install Go 1.26 or newer")
	case strings.Contains(said, "dial tcp"), strings.Contains(said, "no such host"):
		return fmt.Errorf("%w: the Go module proxy does not answer (check the network and GOPROXY)\n%s", err, said)
	case strings.Contains(said, "requires go >="):
		return fmt.Errorf("%w: install a newer Go\n%s", err, said)
	}
	return fmt.Errorf("%w\n%s", err, said)
}

// tail keeps the last 4 KiB that are written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if len(*t) > 4<<10 {
		*t = (*t)[len(*t)-4<<10:]
	}
	return len(p), nil
}

// lineCounter counts lines.
type lineCounter struct {
	n    int
	each func(n int)
}

func (c *lineCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			c.n++
		}
	}
	c.each(c.n)
	return len(p), nil
}
