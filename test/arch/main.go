// Command arch checks that the upstream programs can be compiled for other architectures
// than this machine's, as far as Go's type checker sees it: that there are all files and
// declarations for them, with our tags and versions, and that what is ours has no mistake,
// tests included.
// And it configures their kernels, to see that each option of ours takes.
//
// It does not look into functions of others, who compile their programs for each
// architecture themselves, and so takes half a minute where compilers take half an hour.
//
//	go run ./test/arch [ARCHITECTURE...]
//
// Without arguments it does so for all architectures but this machine's.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/gobuild"
	"kios/host/progress"
)

func main() {
	archs, err := architectures(os.Args[1:])
	if err == nil {
		err = checkAll(context.Background(), archs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "arch:", err)
		os.Exit(1)
	}
}

// architectures are those of these names.
func architectures(names []string) (all []arch.Arch, err error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(arch.All), func(a arch.Arch) bool { return !a.Foreign() }), nil
	}
	for _, name := range names {
		a, err := arch.Find(name)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// checkAll checks as many groups of programs at a time as there are processors.
func checkAll(ctx context.Context, archs []arch.Arch) error {
	groups, err := groups(".")
	if err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(runtime.GOMAXPROCS(0))
	for _, a := range archs {
		all.Go(func() error { return configureKernel(ctx, a) })
		for _, group := range groups {
			all.Go(func() error { return checkGroup(ctx, a, group) })
		}
	}
	return all.Wait()
}

func configureKernel(ctx context.Context, a arch.Arch) error {
	b, err := build.New(".", a, progress.New(os.Stderr))
	if err != nil {
		return err
	}
	if _, err := b.ConfigureKernel(ctx); err != nil {
		return fmt.Errorf("the kernel for %s: %w", a.Name, err)
	}
	fmt.Printf("kernel for %s: each option took\n", a.Name)
	return nil
}

func checkGroup(ctx context.Context, a arch.Arch, group []gobuild.Program) error {
	start := time.Now()
	n, err := check(ctx, ".", a, group)
	if err != nil {
		return fmt.Errorf("%s for %s: %w", group[0].Dir, a.Name, err)
	}
	fmt.Printf("%s for %s: %d packages, %.1fs\n", group[0].Dir, a.Name, n, time.Since(start).Seconds())
	return nil
}

// groups are the programs of nodes, those of one module together. Older versions of the
// control plane differ in what is not ours.
func groups(root string) (all [][]gobuild.Program, err error) {
	versions, err := gobuild.ControlPlaneVersions(root)
	if err != nil {
		return nil, err
	}
	controlPlane, err := gobuild.ControlPlane(root, versions[0])
	if err != nil {
		return nil, err
	}
	programs := slices.Concat(gobuild.Upstream, gobuild.AddOns, controlPlane)
	slices.SortStableFunc(programs, func(a, b gobuild.Program) int { return cmp.Compare(a.Dir, b.Dir) })
	for i, p := range programs {
		if i == 0 || p.Dir != programs[i-1].Dir {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], p)
	}
	return all, nil
}
