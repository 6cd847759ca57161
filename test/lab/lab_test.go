package lab

import (
	"errors"
	"fmt"
	"go/build/constraint"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// failing is a test that keeps how it fails.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

// failure returns how do fails.
func failure(t *testing.T, do func(testing.TB)) string {
	f := &failing{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(f) {
				panic(r)
			}
		}()
		do(f)
	}()
	return f.said
}

func TestEventually(t *testing.T) {
	tries := 0
	Eventually(t, time.Minute, "three tries", func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if tries != 3 {
		t.Errorf("Eventually tried %d times, want 3", tries)
	}
	got := failure(t, func(tb testing.TB) {
		Eventually(tb, time.Millisecond, "the moon", func() error { return errors.New("it is far") })
	})
	if want := "the moon: not within 1ms: it is far"; got != want {
		t.Errorf("Eventually fails with %q, want %q", got, want)
	}
}

func TestOutSaysWhatToDo(t *testing.T) {
	t.Setenv("KIOS_ARCH", "") // this machine's
	out := "there is no _out/" + runtime.GOARCH
	for want, do := range map[string]func(testing.TB){
		out + `/no-such-file: run "make build" first`:              func(tb testing.TB) { Out(tb, "no-such-file") },
		out + `/cluster/v0/no-such: run "make controlplane" first`: func(tb testing.TB) { ClusterOut(tb, "v0", "no-such") },
	} {
		if got := failure(t, do); !strings.HasPrefix(got, want) {
			t.Errorf("without the product: %q, want %q", got, want)
		}
	}
}

func TestNeedRoot(t *testing.T) {
	got := failure(t, NeedRoot)
	if root := os.Getuid() == 0; root != (got == "") {
		t.Errorf("NeedRoot as user %d fails with %q", os.Getuid(), got)
	}
}

func TestTail(t *testing.T) {
	for _, tt := range []struct {
		text  string
		lines int
		want  string
	}{{"", 2, ""}, {"a\nb\nc\n", 2, "b\nc"}, {"a\nb", 5, "a\nb"}} {
		if got := Tail(tt.text, tt.lines); got != tt.want {
			t.Errorf("Tail(%q, %d) = %q, want %q", tt.text, tt.lines, got, tt.want)
		}
	}
}

func TestTagged(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"a/plain.go":        "package a\n",
		"a/tagged.go":       "// Licence\n\n//go:build guest && linux\n\npackage a\n",
		"a/late.go":         "package a\n\n//go:build guest\n",
		"_out/tagged.go":    "//go:build guest\n\npackage a\n",
		"upstream/m/b.go":   "//go:build guest\n\npackage m\n",
		"upstream/m/go.mod": "module m\n",
	} {
		WriteFile(t, filepath.Join(dir, path), text)
	}
	var got []string
	err := Tagged(dir, func(path string, tags constraint.Expr) { got = append(got, path+" "+tags.String()) })
	if want := []string{"a/tagged.go guest && linux", "upstream/m/b.go guest"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Tagged = %q, %v, want %q", got, err, want)
	}
}

func TestNeeds(t *testing.T) {
	for text, want := range map[string]bool{"guest": true, "!guest": false, "root": false, "guest || root": true, "guest && root": false} {
		expr, err := constraint.Parse("//go:build " + text)
		Must(t, err)
		if got := Needs(expr, "guest"); got != want {
			t.Errorf("Needs(%s) = %v, want %v", text, got, want)
		}
	}
}
