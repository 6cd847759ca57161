package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// neverEmpty has flags that name a file or a directory, or a size, refuse to name none. In a
// script that is a variable that is not set, and without the flag the command does something
// else.
func neverEmpty(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		flag := flags.Lookup(name)
		what, _ := pflag.UnquoteUsage(flag)
		flag.Value = nonEmpty{flag.Value, what}
		flag.DefValue = "" // that of a list would be shown now
	}
}

// nonEmpty is a flag's value.
type nonEmpty struct {
	pflag.Value
	what string // the flag takes
}

// Set takes what follows the flag.
func (n nonEmpty) Set(text string) error {
	if text == "" {
		return fmt.Errorf("it is empty: give the %s, or leave the flag out", n.what)
	}
	return n.Value.Set(text)
}

// checkInputs finds out whether --etc and --oci, which several commands have, name what
// they are to name. What is in an archive is read later.
func checkInputs(etc string, archives []string) error {
	for _, path := range archives {
		switch _, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("--oci %s: there is no such file: give the output of docker save, or an OCI layout in a tar file", path)
		case err != nil:
			return fmt.Errorf("--oci: %w", err)
		}
	}
	if etc == "" {
		return nil
	}
	return checkEtc(etc)
}

// checkEtc finds out whether --etc names a directory that is laid out like /etc.
func checkEtc(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--etc %s: there is no such directory: give one that is laid out like /etc", dir)
	case err != nil:
		return fmt.Errorf("--etc: %w", err)
	case !info.IsDir():
		return fmt.Errorf("--etc %s: it is not a directory: give one that is laid out like /etc, with manifests of static pods in kubernetes/manifests", dir)
	}
	return checkNested(dir)
}

// checkNested finds a directory that is named in place of the one in it.
func checkNested(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("--etc: %w", err)
	}
	if len(entries) == 1 && entries[0].Name() == "etc" && entries[0].IsDir() {
		return fmt.Errorf("--etc %s has only the directory etc in it: did you mean --etc %s?", dir, filepath.Join(dir, "etc"))
	}
	return nil
}
