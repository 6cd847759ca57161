package machine

import (
	"os"
	"testing"

	"kios/host/build"
	"kios/host/debian"
	"kios/host/progress"
	"kios/test/lab"
)

// Debian returns directories that have the files of Debian packages, for the nodes'
// architecture: the root of this machine, which has them installed, if that is its own.
// Elsewhere the packages are unpacked, with all that they depend on.
func Debian(t testing.TB, packages ...string) (trees []string) {
	t.Helper()
	a := lab.Arch(t)
	if !a.Foreign() {
		return []string{"/"}
	}
	b, err := build.New(lab.Root(t), a, progress.New(os.Stderr))
	lab.Must(t, err)
	var wanted []debian.Package
	for _, name := range packages {
		wanted = append(wanted, debian.Package{Name: name})
	}
	dir := t.TempDir()
	lab.Must(t, debian.Unpack(t.Context(), b.Log, a, b.Versions.Debian.Suites, wanted, dir))
	return []string{dir}
}
