package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"kios/host/cache"
	"kios/host/debian"
	"kios/host/progress"
)

// Older translators have two races between a guest's processors, each of which
// ends one of some dozen boots; see docs/decisions/0017.
const fixedMajor, fixedMinor = 11, 1

// Ensure gets a QEMU of a newer Debian release, with libraries of its own, if
// that of this machine may end a guest that it emulates. Machines run in it
// from then on; nothing is installed.
func Ensure(ctx context.Context, log *progress.Log, suites []string) error {
	if own, err := ownPath(); err != nil || exists(own) {
		return err
	}
	bin, err := exec.LookPath(Binary)
	if err != nil {
		return nil // Start says what to install
	}
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", bin, err)
	}
	if translates(string(out)) {
		return nil
	}
	_, err = cache.Product(ownName, ownKey(), func(dir string) error {
		if err := debian.Unpack(ctx, log, append(slices.Clone(suites), suites[0]+"-backports"), "qemu-system-x86", dir); err != nil {
			return err
		}
		final, err := ownPath()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, Binary), []byte(starter(filepath.Dir(final))), 0o755)
	})
	if err != nil {
		return fmt.Errorf("the QEMU of this host is older than %d.%d and ends emulated machines now and then; getting a newer one failed: %w", fixedMajor, fixedMinor, err)
	}
	return nil
}

var versionLine = regexp.MustCompile(`^QEMU emulator version (\d+)\.(\d+)`)

// translates judges what QEMU says of its version.
func translates(said string) bool {
	m := versionLine.FindStringSubmatch(said)
	if m == nil {
		return true // unknown: take it as it is
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > fixedMajor || major == fixedMajor && minor >= fixedMinor
}

// starter is the script that runs QEMU below dir with the libraries there.
func starter(dir string) string {
	lib := dir + "/usr/lib/x86_64-linux-gnu"
	return fmt.Sprintf(`#!/bin/sh
exec '%s/ld-linux-x86-64.so.2' --argv0 %s --library-path '%s' '%s/usr/bin/%s' -L '%s/usr/share/qemu' -L '%s/usr/share/seabios' "$@"
`, lib, Binary, lib, dir, Binary, dir, dir)
}

const ownName = "qemu"

func ownKey() *cache.Key { return cache.NewKey(ownName, "2") }

// ownPath is where Ensure puts the program.
func ownPath() (string, error) {
	dir, err := cache.Dir()
	return filepath.Join(dir, ownName+"-"+ownKey().String(), Binary), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
