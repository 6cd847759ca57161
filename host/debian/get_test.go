package debian

import (
	"os"
	"path/filepath"
	"testing"

	"kios/host/progress"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
)

// fakeApt stands for an archive that has a-1, b-2 and c-3.
const fakeApt = `#!/bin/sh
case "$*" in
*madison*) printf 'a | 1 | x\nb | 2 | x\nc | 3 | x\n';;
*download*) for p; do case $p in *=*/*|*::*) ;; ?=?) touch "${p%=*}_${p#*=}_all.deb"; echo "$p" >> "$FETCHED";; esac; done;;
esac
`

// TestGet asks for one package of each kind: in the cache, in the cache in the
// version that takes its place, and two that are to be fetched.
func TestGet(t *testing.T) {
	bin, debs := t.TempDir(), t.TempDir()
	fetched := filepath.Join(bin, "fetched")
	t.Setenv("FETCHED", fetched)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, tool := range []string{"apt-get", "apt-cache"} {
		lab.Must(t, os.WriteFile(filepath.Join(bin, tool), []byte(fakeApt), 0o755))
	}
	for _, deb := range []string{"z_9_all.deb", "b_2_all.deb"} {
		lab.Must(t, os.WriteFile(filepath.Join(debs, deb), nil, 0o644))
	}
	a := &archive{root: filepath.Join(t.TempDir(), "apt"), debs: debs, own: debs, arch: "arm64", ready: true}
	got, err := a.get(t.Context(), progress.New(os.Stderr), []Package{{"c", "3"}, {"z", "9"}, {"b", "1"}, {"a", "0"}})
	lab.Must(t, err)
	gone := func(name, version, now string) string {
		return name + " " + version + " is no longer in the archive; using " + now + " (update versions.json)"
	}
	want := []Deb{
		{"c", "3", filepath.Join(debs, "c_3_all.deb"), ""},
		{"z", "9", filepath.Join(debs, "z_9_all.deb"), ""},
		{"b", "2", filepath.Join(debs, "b_2_all.deb"), gone("b", "1", "2")},
		{"a", "1", filepath.Join(debs, "a_1_all.deb"), gone("a", "0", "1")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("get() (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(fetched); err != nil || string(text) != "c=3\na=1\n" {
		t.Errorf("fetched %q, %v, want c and a", text, err)
	}
	if _, err := a.get(t.Context(), progress.New(os.Stderr), []Package{{"d", "4"}}); !errorContains(err, "d not found") {
		t.Errorf("get(d) = %v, want that it is not there", err)
	}
}

// A source is in the directory that it was asked for, and one that is no longer offered
// is an error that says what to do.
func TestSource(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	script := "#!/bin/sh\ncase \"$*\" in *' source --download-only a=1') touch a_1.orig.tar.gz;; *) echo 'E: no source' >&2; exit 100;; esac\n"
	lab.Must(t, os.WriteFile(filepath.Join(bin, "apt-get"), []byte(script), 0o755))
	a := &archive{root: filepath.Join(bin, "apt"), kind: "deb-src", ready: true}
	log := progress.New(os.Stderr)
	lab.Must(t, a.source(t.Context(), log, Package{"a", "1"}, dir))
	if _, err := os.Stat(filepath.Join(dir, "a_1.orig.tar.gz")); err != nil {
		t.Error(err)
	}
	if err := a.source(t.Context(), log, Package{"a", "2"}, dir); !errorContains(err, "no source (has 2 left the archive? then update versions.json)") {
		t.Errorf("source(a 2) = %v, want what apt says and a remedy", err)
	}
}
