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
	"time"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/debian"
	"kios/host/progress"
)

// Older translators have two races between a guest's processors, each of which
// ends one of some dozen boots; see docs/decisions/0017.
const fixedMajor, fixedMinor = 11, 1

// Ensure gets a QEMU for an architecture of a newer Debian release, with libraries of its own, if
// that of this machine may end a guest that it emulates. Machines run in it
// from then on; nothing is installed. The version is that of Debian's package; another
// one than before is fetched anew.
func Ensure(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, version string) error {
	root, err := cache.Dir()
	if err != nil {
		return err
	}
	key := cache.NewKey(ownName, "3", version)
	if exists(filepath.Join(root, ownName+"-"+key.String(), Binary)) {
		return nil
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
	_, err = cache.Product(ctx, log, ownName, key, func(dir string) error {
		from := append(slices.Clone(suites), suites[0]+"-backports")
		if err := debian.Unpack(ctx, log, arch.Host(), from, []debian.Package{{Name: a.QEMU.Package, Version: version}}, dir); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, Binary), []byte(starter), 0o755)
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

// starter is the script beside QEMU that runs it with the libraries there, wherever the
// cache has been moved to.
const starter = `#!/bin/sh
dir=$(dirname "$(readlink -f "$0")")
lib=$dir/usr/lib/x86_64-linux-gnu
exec "$lib/ld-linux-x86-64.so.2" --argv0 ` + Binary + ` --library-path "$lib" "$dir/usr/bin/` + Binary + `" -L "$dir/usr/share/qemu" -L "$dir/usr/share/seabios" "$@"
`

const ownName = "qemu"

// ownPath is the program that Ensure has put into the cache, or "".
func ownPath() string {
	root, err := cache.Dir()
	if err != nil {
		return ""
	}
	found, _ := filepath.Glob(filepath.Join(root, ownName+"-*", Binary))
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
