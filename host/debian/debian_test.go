package debian

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/test/lab"
)

func TestParseMirrors(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want mirrors
	}{
		{
			name: "bookworm with lists",
			in: "http://a.example/debian/|bookworm|main|Debian\n" +
				"http://a.example/debian/|bookworm-updates|main|Debian\n" +
				"http://b.example/security/|bookworm-security|main|Debian\n",
			want: mirrors{main: "http://a.example/debian/", security: "http://b.example/security/"},
		},
		{
			name: "lists never fetched",
			in:   "http://a.example/debian/|bookworm|main|$(ORIGIN)\n",
			want: mirrors{main: "http://a.example/debian/"},
		},
		{
			name: "others come first",
			in: "https://other.example/|bookworm|main|Other\n" +
				"cdrom:[Debian 12]/|bookworm|main|Debian\n" +
				"http://a.example/debian/|bookworm|contrib|Debian\n" +
				"http://a.example/debian/|bookworm|main|Debian\n" +
				"http://c.example/debian/|bookworm|main|Debian\n",
			want: mirrors{main: "http://a.example/debian/"},
		},
		{name: "nothing", in: "", want: standard},
		{
			name: "Ubuntu",
			in: "http://d.example/ubuntu/|noble|main|Ubuntu\n" +
				"http://d.example/ubuntu/|noble-security|main|Ubuntu\n",
			want: standard,
		},
		{name: "Ubuntu, lists never fetched", in: "http://d.example/ubuntu/|noble|main|$(ORIGIN)\n", want: standard},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseMirrors(tt.in)
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(mirrors{})); d != "" {
				t.Errorf("parseMirrors() (-want +got):\n%s", d)
			}
		})
	}
}

func TestServing(t *testing.T) {
	m := mirrors{main: "http://a.example/debian/"}
	if got, err := m.serving("trixie"); err != nil || got != m.main {
		t.Errorf("serving(trixie) = %q, %v, want %q", got, err, m.main)
	}
	if _, err := m.serving("trixie-security"); !errorContains(err, "trixie-security (add one") {
		t.Errorf("serving(trixie-security) error = %v, want one that tells what to add", err)
	}
}

func TestParseMadison(t *testing.T) {
	in := "linux-source-6.12 | 6.12.117-1 | http://a.example trixie-security/main amd64 Packages\n" +
		"linux-source-6.12 | 6.12.94-1 | http://a.example trixie/main amd64 Packages\n" +
		"linux-source-6.12 | 6.12.90-1 | http://a.example trixie/main Sources\n" +
		"N: a note\n"
	want := []string{"6.12.117-1", "6.12.94-1"}
	if d := cmp.Diff(want, parseMadison(in, "linux-source-6.12")); d != "" {
		t.Errorf("parseMadison() (-want +got):\n%s", d)
	}
}

// Each architecture has packages of its own, also where one is in the cache and the other
// is not, and shares with the others what is the same for all.
func TestCached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	archives := map[string]*archive{}
	for _, a := range arch.All {
		from, err := newArchive("apt", a, nil)
		lab.Must(t, err)
		archives[a.Name] = from
	}
	place := func(dir, name string) string {
		lab.WriteFile(t, filepath.Join(dir, name), "")
		return filepath.Join(dir, name)
	}
	source := place(archives["amd64"].debs, "source_1%3a2-3_all.deb")
	libc := place(archives["amd64"].own, "libc6_2.41_amd64.deb")
	stub := place(archives["arm64"].own, "stub_257_arm64.deb")
	for _, tt := range []struct{ arch, name, version, want string }{
		{"amd64", "source", "1:2-3", source},
		{"arm64", "source", "1:2-3", source},
		{"amd64", "source", "1:2-4", ""},
		{"amd64", "libc6", "2.41", libc},
		{"arm64", "libc6", "2.41", ""},
		{"amd64", "stub", "257", ""},
		{"arm64", "stub", "257", stub},
	} {
		if got := archives[tt.arch].cached(tt.name, tt.version); got != tt.want {
			t.Errorf("%s: cached(%s, %s) = %q, want %q", tt.arch, tt.name, tt.version, got, tt.want)
		}
	}
	if a, b := archives["amd64"].root, archives["arm64"].root; a == b {
		t.Errorf("both have their lists in %s", a)
	}
}

// What is downloaded goes where it is found again.
func TestKeep(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a, err := arch.Find("arm64")
	lab.Must(t, err)
	from, err := newArchive("apt", a, nil)
	lab.Must(t, err)
	tmp := t.TempDir()
	lab.Must(t, errors.Join(os.MkdirAll(from.own, 0o755), os.MkdirAll(from.debs, 0o755)))
	for _, name := range []string{"source_1_all.deb", "libc6_1_arm64.deb", "stub_1_amd64.deb"} {
		lab.WriteFile(t, filepath.Join(tmp, name), name)
	}
	lab.Must(t, from.keep(tmp, []Package{{"source", "1"}, {"libc6", "1"}}))
	for name, all := range map[string]bool{"source": true, "libc6": false} {
		if d := (Deb{Path: from.cached(name, "1")}); d.Path == "" || d.ForAll() != all {
			t.Errorf("%s is %q, for all architectures: %v, want %v", name, d.Path, d.ForAll(), all)
		}
	}
	if err := from.keep(tmp, []Package{{"stub", "1"}}); err == nil {
		t.Error("keep takes the package of another architecture")
	}
}

func TestRunTellsWhatAptSaid(t *testing.T) {
	_, err := run(exec.Command("sh", "-c", "echo 'W: old' >&2; echo 'E: no such thing' >&2; exit 100"))
	if !errorContains(err, "sh: no such thing") || strings.Contains(err.Error(), "old") {
		t.Errorf("run() error = %v, want the error line only", err)
	}
	_, err = run(exec.Command("false"))
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Errorf("run(false) error = %v, want an exit status", err)
	}
}

func errorContains(err error, want string) bool {
	if want == "" || err == nil {
		return want == "" && err == nil
	}
	return strings.Contains(err.Error(), want)
}
