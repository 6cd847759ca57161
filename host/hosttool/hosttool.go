// Package hosttool runs the programs of the build machine that make and read
// file systems and disks, and says which Debian package to install when one is
// missing.
package hosttool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages are the Debian packages of the programs.
var packages = map[string]string{
	"apparmor_parser": "apparmor",
	"debugfs":         "e2fsprogs",
	"dump.erofs":      "erofs-utils",
	"e2fsck":          "e2fsprogs",
	"fsck.erofs":      "erofs-utils",
	"fsck.vfat":       "dosfstools",
	"mcopy":           "mtools",
	"mke2fs":          "e2fsprogs",
	"mkfs.erofs":      "erofs-utils",
	"mkfs.vfat":       "dosfstools",
	"mmd":             "mtools",
	"qemu-img":        "qemu-utils",
	"sgdisk":          "gdisk",
}

// Find returns the path of a program. Debian leaves /usr/sbin out of an
// ordinary user's PATH, so Find always searches it.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	if pkg, ok := packages[name]; ok {
		return "", fmt.Errorf("%s is not installed; as root run: apt-get install %s", name, pkg)
	}
	return "", err
}

// Command describes one run of a program.
type Command struct {
	Name  string // as Find takes it
	Args  []string
	Env   []string // added to the environment
	Stdin string
}

// Run runs the program in the C locale and returns what it wrote to its
// standard output. The error is an *Error if it ran.
func (c Command) Run(ctx context.Context) (string, error) {
	path, err := Find(c.Name)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := Exec(ctx, path, c.Args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), c.Env...)
	cmd.Stdin = strings.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // rather than "signal: killed"
		}
		return stdout.String(), &Error{Name: c.Name, Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

// Error is the failure of a program that ran.
type Error struct {
	Name   string
	Stderr string // all of it
	Err    error  // how it ended
}

// Error gives the last line of what the program wrote about it.
func (e *Error) Error() string {
	lines := strings.Split(strings.TrimSpace(e.Stderr), "\n")
	last := strings.TrimSpace(strings.TrimPrefix(lines[len(lines)-1], e.Name+": "))
	if last == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s: %s (%v)", e.Name, last, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Run runs a program that needs nothing but arguments.
func Run(ctx context.Context, name string, args ...string) (string, error) {
	return Command{Name: name, Args: args}.Run(ctx)
}
