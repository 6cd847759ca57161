package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kios/host/arch"
)

// parsed runs a command with a flag --arch, and returns what that is then.
func parsed(args ...string) (string, error) {
	var a *archValue
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, Run: func(*cobra.Command, []string) {}}
	a = archFlag(cmd, "architecture")
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	err := cmd.Execute()
	return a.Name, err
}

func TestArchFlag(t *testing.T) {
	if got, err := parsed(); err != nil || got != arch.Host().Name {
		t.Errorf("without the flag it is %s, %v, want the host's, %s", got, err, arch.Host().Name)
	}
	for _, a := range arch.All {
		if got, err := parsed("--arch", a.Name); err != nil || got != a.Name {
			t.Errorf("--arch %s is %s, %v", a.Name, got, err)
		}
	}
	for _, name := range []string{"", "x86_64", "riscv64"} {
		if _, err := parsed("--arch", name); err == nil || !strings.Contains(err.Error(), "use amd64 or arm64") {
			t.Errorf("--arch %q = %v, want an error that names those that there are", name, err)
		}
	}
}

// Who types the flag is offered what there is.
func TestArchFlagCompletes(t *testing.T) {
	root := newRootCommand()
	var out strings.Builder
	root.SetArgs([]string{cobra.ShellCompNoDescRequestCmd, "build", "--arch", ""})
	root.SetOut(&out)
	if err := root.Execute(); err != nil || !strings.HasPrefix(out.String(), strings.Join(arch.Names(), "\n")+"\n") {
		t.Errorf("completion = %q, %v, want %q", out.String(), err, arch.Names())
	}
}
