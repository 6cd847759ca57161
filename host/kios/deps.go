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

	"kios/host/arch"
	"kios/host/hosttool"
	"kios/host/qemu"
)

func newDepsCommand() *cobra.Command {
	var test bool
	cmd := &cobra.Command{
		Use:   "deps",
		Short: "Install the Debian packages that building needs",
		Long: `Installs the Debian packages that versions.json lists under "host" and that are
missing on this machine, with apt-get. With --test also those under "test", which
tests and benchmarks need. Needs root if any package is missing.

If the QEMU of this machine has a bug that ends emulated machines now and then, a
newer one is put into the cache: see HACKING.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := checkout(arch.Host())
			if err != nil {
				return err
			}
			names := b.Versions.Host
			if test {
				names = slices.Concat(names, b.Versions.Test)
			}
			if missing := missingPackages(cmd.Context(), names); len(missing) > 0 {
				if err := install(cmd.Context(), missing); err != nil {
					return err
				}
			}
			if err := qemu.Ensure(cmd.Context(), b.Log, b.Arch, b.Versions.Debian.Suites, b.Versions.Tools[b.Arch.QEMU.Package]); err != nil && cmd.Context().Err() == nil {
				fmt.Fprintf(os.Stderr, "kios: %v\n", err)
			}
			return cmd.Context().Err()
		},
	}
	cmd.Flags().BoolVar(&test, "test", false, "also install what tests and benchmarks need")
	return cmd
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
