package main

import (
	"errors"
	"io/fs"
	"os"

	"kios/host/build"
	"kios/host/progress"
)

// checkout returns a Builder for the checkout that the command is run in.
func checkout(arch string) (*build.Builder, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	root, err := build.FindRoot(dir)
	if err != nil {
		return nil, err
	}
	return build.New(root, arch, progress.New(os.Stderr))
}

// missing reports whether a file is not there.
func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}
