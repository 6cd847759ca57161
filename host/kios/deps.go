package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/build"
	"kios/host/hosttool"
	"kios/host/qemu"
)

// depsOptions are the flags of kios deps.
type depsOptions struct {
	arch              *archValue
	test, compileOnly bool
}

func newDepsCommand() *cobra.Command {
	var o depsOptions
	cmd := &cobra.Command{
		Use:   "deps",
		Short: "Install the Debian packages that building needs",
		Long: `Installs the Debian packages that building and running needs and that are missing
on this machine, with apt-get: those that versions.json lists under "host", and what
the architecture needs besides. For another architecture than this machine's that is
a cross compiler, with the C library to link with, and UEFI firmware. With --test
also those under "test", which tests and benchmarks need. With --compile-only, what
only virtual machines need is left out. Needs root if any package is missing.

If the QEMU of this machine has a bug that ends emulated machines now and then, or if
there is none for another architecture, one is put into the cache: see HACKING.md.`,
		Example: `  kios deps
  kios deps --arch arm64 && kios build --arch arm64`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context())
		},
	}
	o.arch = archFlag(cmd, "architecture to build for")
	cmd.Flags().BoolVar(&o.test, "test", false, "also install what tests and benchmarks need")
	cmd.Flags().BoolVar(&o.compileOnly, "compile-only", false, "install what compiling needs, and not what virtual machines need")
	return cmd
}

func (o depsOptions) run(ctx context.Context) error {
	b, err := checkout(o.arch.Arch)
	if err != nil {
		return err
	}
	if missing := missingPackages(ctx, o.names(b.Versions)); len(missing) > 0 {
		if err := install(ctx, missing); err != nil {
			return err
		}
	}
	if o.compileOnly {
		return nil
	}
	version := b.Versions.Tools[b.Arch.QEMU.Package]
	if err := qemu.Ensure(ctx, b.Log, b.Arch, b.Versions.Debian.Suites, version); err != nil && ctx.Err() == nil {
		if qemu.Installed(b.Arch) != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "kios: %v\n", err)
	}
	return ctx.Err()
}

// names are the packages that are to be there.
func (o depsOptions) names(v build.Versions) []string {
	names := slices.Concat(v.Host, o.arch.BuildPackages())
	if !o.compileOnly {
		names = append(names, o.arch.MachinePackages()...)
	}
	if o.test {
		names = append(names, v.Test...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// missingPackages returns those of the packages that dpkg does not have as
// installed.
func missingPackages(ctx context.Context, names []string) []string {
	args := append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n"}, names...)
	out, _ := hosttool.Exec(ctx, "dpkg-query", args...).Output() // exits 1 if one is unknown
	installed := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " installed"); ok {
			installed[name] = true
		}
	}
	var missing []string
	for _, name := range names {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// install updates apt's lists and installs the packages.
func install(ctx context.Context, names []string) error {
	command := "apt-get install --no-install-recommends " + strings.Join(names, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("these Debian packages are missing, and there is no apt-get to install them: " + strings.Join(names, " "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing Debian packages; run as root: %s", command)
	}
	fmt.Fprintln(os.Stderr, "kios: installing missing Debian packages:", strings.Join(names, " "))
	defer forbidServices("/usr/sbin/policy-rc.d")()
	for _, args := range [][]string{
		{"-q", "update"},
		append([]string{"-q", "-y", "--no-install-recommends", "install"}, names...),
	} {
		cmd := hosttool.Exec(ctx, "apt-get", args...)
		// apt-get alone is interrupted, and never killed: it ends when no package is
		// half installed.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 0
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w (see its output above)", args[1], err)
		}
	}
	return nil
}

// forbidServices keeps packages from starting their daemons, such as a DHCP
// server, on this machine: tests start them, in networks of their own. It
// returns what undoes it. See invoke-rc.d(8); a policy of somebody else is kept. One
// of ours is there when a run was killed, and is removed now.
func forbidServices(policy string) (undo func()) {
	const text = "#!/bin/sh\n# written by kios deps, which removes it again\nexit 101\n"
	if old, err := os.ReadFile(policy); err == nil && string(old) != text {
		return func() {}
	}
	if err := os.WriteFile(policy, []byte(text), 0o755); err != nil {
		return func() {}
	}
	return func() { os.Remove(policy) }
}
