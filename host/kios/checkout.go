package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/progress"
)

// checkout returns a Builder, for an architecture, of the checkout that the command is
// run in.
func checkout(a arch.Arch) (*build.Builder, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	root, err := build.FindRoot(dir)
	if err != nil {
		return nil, err
	}
	return build.New(root, a, progress.New(os.Stderr))
}

// archValue is the flag --arch: an architecture that kiOS is built for.
type archValue struct{ arch.Arch }

func (v *archValue) String() string { return v.Name }

func (v *archValue) Type() string { return "name" }

func (v *archValue) Set(name string) (err error) {
	v.Arch, err = arch.Find(name)
	return err
}

// archFlag gives a command the flag --arch, whose default is the architecture of this
// machine.
func archFlag(cmd *cobra.Command, usage string) *archValue {
	v := &archValue{arch.Host()}
	cmd.Flags().Var(v, "arch", usage+": "+strings.Join(arch.Names(), " or "))
	cmd.RegisterFlagCompletionFunc("arch", cobra.FixedCompletions(arch.Names(), cobra.ShellCompDirectiveNoFileComp))
	return v
}

// missing reports whether a file is not there.
func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}
