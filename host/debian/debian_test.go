package debian

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestCached(t *testing.T) {
	a := archive{debs: t.TempDir(), arch: "arm64"}
	path := filepath.Join(a.debs, "x_1%3a2-3_all.deb")
	lab.Must(t, exec.Command("touch", path).Run())
	if got := a.cached("x", "1:2-3"); got != path {
		t.Errorf("cached(x, 1:2-3) = %q, want %q", got, path)
	}
	if got := a.cached("x", "1:2-4"); got != "" {
		t.Errorf("cached(x, 1:2-4) = %q, want none", got)
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
