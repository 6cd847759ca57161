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
	"strings"
	"time"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/debian"
	"kios/host/progress"
)

// Older translators have two races between a guest's processors, each of which
// ends one of some dozen boots; see docs/decisions/0017.
const fixedMajor, fixedMinor = 11, 1

// Ensure gets a QEMU for an architecture from a newer Debian release, with libraries of
// its own, if that of this machine may end a guest that it emulates, or if it has none for
// another architecture than its own. Machines run in it from then on; nothing is
// installed. The version is that of Debian's package; another one than before is fetched
// anew.
func Ensure(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, version string) error {
	root, err := cache.Dir()
	if err != nil {
		return err
	}
	key := cache.NewKey(ownName, "4", arch.Host().Name, version)
	if exists(filepath.Join(root, a.Product(ownName)+"-"+key.String(), ownBinary(a))) {
		return nil
	}
	if fine, err := hostWillDo(ctx, a); fine || err != nil {
		return err
	}
	_, err = cache.Product(ctx, log, a.Product(ownName), key, func(dir string) error {
		pkg := debian.Package{Name: a.QEMU.Package, Version: version}
		if err := debian.Unpack(ctx, log, arch.Host(), withBackports(suites), []debian.Package{pkg}, dir); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, ownBinary(a)), []byte(starter(a)), 0o755)
	})
	if err != nil {
		return fmt.Errorf("this host has no QEMU for %s of %d.%d or newer, and older ones end emulated machines now and then; getting one failed: %w", a.Name, fixedMajor, fixedMinor, err)
	}
	return nil
}

// withBackports adds the suite that has newer versions of a release's programs.
func withBackports(suites []string) []string {
	return append(slices.Clone(suites), suites[0]+"-backports")
}

// hostWillDo reports whether the host's own QEMU is new enough. Without one for the host's
// own architecture nothing is fetched either: Start says what to install.
func hostWillDo(ctx context.Context, a arch.Arch) (bool, error) {
	bin, err := exec.LookPath(a.QEMU.Binary)
	if err != nil {
		return !a.Foreign(), nil
	}
	out, err := exec.CommandContext(ctx, bin, "--version").Output()
	if err != nil {
		return false, fmt.Errorf("%s --version: %w", bin, err)
	}
	return translates(string(out)), nil
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

// starter is the script beside QEMU that runs it with the libraries there, wherever the
// cache has been moved to. They, and what loads them, are for this host, whatever the
// guest is.
func starter(a arch.Arch) string {
	return strings.NewReplacer("TRIPLET", arch.Host().Triplet, "BINARY", a.QEMU.Binary).Replace(`#!/bin/sh
dir=$(dirname "$(readlink -f "$0")")
lib=$dir/usr/lib/TRIPLET
for loader in "$lib"/ld-linux*.so.*; do
	exec "$loader" --argv0 BINARY --library-path "$lib" "$dir/usr/bin/BINARY" -L "$dir/usr/share/qemu" -L "$dir/usr/share/seabios" "$@"
done
`)
}

const ownName = "qemu"

// ownBinary is the starter's name in the cache: it is for one host and one guest, and
// hosts of both architectures may share a cache.
func ownBinary(a arch.Arch) string { return a.QEMU.Binary + "-on-" + arch.Host().Name }

// ownPath is the program that Ensure has put into the cache, or "".
func ownPath(a arch.Arch) string {
	root, err := cache.Dir()
	if err != nil {
		return ""
	}
	// Products of other architectures match as well, and have another program.
	found, _ := filepath.Glob(filepath.Join(root, ownName+"-*", ownBinary(a)))
	newest := ""
	for _, path := range found {
		if newest == "" || modified(path).After(modified(newest)) {
			newest = path
		}
	}
	return newest
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
