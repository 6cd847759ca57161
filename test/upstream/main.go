// Command upstream checks what is ours in the modules around the upstream programs,
// and none of what is theirs: vet, staticcheck, and the tests, with the race
// detector where that is cheap.
//
// Flags and tags are the build's own, so that the packages which the build has
// compiled are used again. The race detector needs all packages compiled once more;
// so it is left out where they are half of Kubernetes.
//
//	go run ./test/upstream [-quick] STATICCHECK
//
// The argument is staticcheck as "go run" takes it. Vet and staticcheck look into all
// that a package imports; for those that import Kubernetes that takes minutes when it is
// done for the first time. With -quick they look at the packages of the race detector
// only. The tests are the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/gobuild"
	"kios/host/progress"
)

// oracles are modules of which the build takes nothing. They compare what is ours with
// what they require, which would be compiled once more for the race detector, and which
// staticcheck would look into, for a few lines of ours.
var oracles = []string{"upstream/ekstools"}

// tools are modules without a package of ours: tests compile programs of what they require.
var tools = []string{"upstream/awstools"}

func main() {
	quick := flag.Bool("quick", false, "leave out vet and staticcheck where they take long")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/upstream [-quick] STATICCHECK")
		os.Exit(2)
	}
	if err := run(context.Background(), flag.Arg(0), *quick); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, staticcheck string, quick bool) error {
	if err := nameRunc(ctx); err != nil {
		return err
	}
	tags, err := programTags()
	if err != nil {
		return err
	}
	return filepath.WalkDir("upstream", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "go.mod" {
			return err
		}
		dir := filepath.Dir(path)
		// A module within another one is a part of that one's program.
		program := filepath.Join(strings.Split(dir, "/")[:2]...)
		if slices.Contains(oracles, program) {
			return module{dir: dir}.run(ctx, oneThread(), []string{"test", "./..."})
		}
		if slices.Contains(tools, program) {
			return nil
		}
		programTags, known := tags[program]
		if !known {
			return fmt.Errorf("host/gobuild compiles no program of %s, so its tags are unknown", program)
		}
		if err := (module{dir, programTags}).check(ctx, staticcheck, quick); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		return nil
	})
}

// nameRunc puts a runc as the build makes it into the environment, for the test of
// what containerd believes about it.
func nameRunc(ctx context.Context) error {
	b, err := build.New(".", arch.Host(), progress.New(os.Stderr))
	if err != nil {
		return err
	}
	runc, err := b.Runc(ctx)
	if err != nil {
		return err
	}
	return os.Setenv("KIOS_RUNC", runc)
}

// programTags returns the build tags of the programs, by module.
func programTags() (map[string]string, error) {
	versions, err := gobuild.ControlPlaneVersions(".")
	if err != nil {
		return nil, err
	}
	controlPlane, err := gobuild.ControlPlane(".", versions[0])
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for _, p := range slices.Concat(gobuild.Upstream, gobuild.AddOns, controlPlane, gobuild.Conformance, []gobuild.Program{gobuild.Kubeadm, gobuild.ClusterAPI}) {
		tags[p.Dir] = p.Tags
	}
	return tags, nil
}

// module is one of those in upstream/.
type module struct{ dir, tags string }

func (m module) check(ctx context.Context, staticcheck string, quick bool) error {
	all, raced, plain, err := m.packages(ctx)
	if err != nil {
		return err
	}
	if quick {
		all = raced
	}
	if err := m.analyse(ctx, staticcheck, all); err != nil {
		return err
	}
	if err := m.test(ctx, oneThread(), plain); err != nil {
		return err
	}
	return m.test(ctx, []string{"CGO_ENABLED=1", "GORACE=atexit_sleep_ms=0"}, raced, "-race")
}

// analyse runs vet and staticcheck, also over the tests that test/vm runs in a small
// machine.
func (m module) analyse(ctx context.Context, staticcheck string, packages []string) error {
	if len(packages) == 0 {
		return nil // such as runc, which is as it is
	}
	m.tags += ",guest"
	if err := m.run(ctx, oneThread(), append([]string{"vet"}, packages...)); err != nil {
		return err
	}
	return m.run(ctx, nil, append([]string{"run", staticcheck}, packages...))
}

func (m module) test(ctx context.Context, env, packages []string, flags ...string) error {
	if len(packages) == 0 {
		return nil
	}
	return m.run(ctx, env, slices.Concat([]string{"test", "-vet=off"}, flags, packages))
}

// packages returns the packages, and of those with tests the ones for the race
// detector and the others.
func (m module) packages(ctx context.Context) (all, raced, plain []string, err error) {
	list, err := m.list(ctx, "-f", "{{.ImportPath}} {{len .TestGoFiles}}", "./...")
	if err != nil {
		return nil, nil, nil, err
	}
	for _, line := range list {
		pkg, tests, _ := strings.Cut(line, " ")
		all = append(all, pkg)
		if tests == "0" {
			continue
		}
		deps, err := m.list(ctx, "-test", "-deps", pkg)
		if err != nil {
			return nil, nil, nil, err
		}
		if slices.ContainsFunc(deps, isLarge) {
			plain = append(plain, pkg)
		} else {
			raced = append(raced, pkg)
		}
	}
	return all, raced, plain, nil
}

// isLarge finds what the race detector would have compiled once more for the few lines that
// are ours.
func isLarge(pkg string) bool {
	return strings.HasPrefix(pkg, "k8s.io/kubernetes/") || strings.HasPrefix(pkg, "sigs.k8s.io/cluster-api/")
}

func (m module) list(ctx context.Context, args ...string) ([]string, error) {
	// What it says is shown with an error only: it warns of modules without packages.
	out, err := m.command(ctx, append([]string{"list"}, args...)).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("go list: %w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), nil
}

// run shows what it does, and runs it.
func (m module) run(ctx context.Context, env, args []string) error {
	cmd := m.command(ctx, args)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Printf("%s: go %s\n", m.dir, strings.Join(args, " "))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// command is a go command in the module.
func (m module) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -tags="+m.tags)
	return cmd
}

// oneThread makes compilers of one thread each on two processors, as in
// host/gobuild. It is not for the race detector, which would see less.
func oneThread() []string {
	if runtime.GOMAXPROCS(0) != 2 {
		return nil
	}
	return []string{"GOMAXPROCS=1"}
}
