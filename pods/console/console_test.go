package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/internal/consoleline"
	"kios/test/lab"
)

// at is a console whose clock a test sets.
func at(now *time.Duration) (*Console, *lab.Buffer) {
	out := &lab.Buffer{}
	c := New(out, "a")
	c.now = func() time.Duration { return *now }
	return c, out
}

func TestForm(t *testing.T) {
	now := time.Duration(0)
	c, out := at(&now)
	c.Error("user data: line 3\nuser data: \x1b[2J\rline 4")
	c.Warn("kubelet ready")
	fmt.Fprintln(c.Warnings(), "it waits")
	c.Error("\n")
	const want = "<3>kios: error: pod a: user data: line 3\n<3>kios: error: pod a: user data: [2Jline 4\n" +
		"<4>kios: warning: pod a: kubelet ready\n<4>kios: warning: pod a: it waits\n"
	if out.String() != want {
		t.Errorf("records\n%swant\n%s", out, want)
	}
	var none *Console
	none.Error("nobody sees it")
}

// A stranger can make lines without end, and of any length.
func TestBounds(t *testing.T) {
	now := time.Duration(0)
	c, out := at(&now)
	for i := range 24 * 60 {
		now = time.Duration(i) * time.Minute
		c.Error(fmt.Sprint(i, strings.Repeat("\u2603", 1000)))
	}
	records := strings.Split(strings.TrimSpace(out.String()), "\n")
	if n := len(records); n < burst || n > 2*(burst+24*12) {
		t.Errorf("in a day there are %d lines", n)
	}
	for _, r := range records {
		if len(r) > consoleline.MaxPodText+50 {
			t.Fatalf("a record of %d bytes", len(r))
		}
	}
	if !strings.Contains(out.String(), "in the pod's log only") {
		t.Error("it is not said that there are more")
	}
	if len(c.said) > burst {
		t.Errorf("%d lines are remembered", len(c.said))
	}
}

func TestSameLine(t *testing.T) {
	now := time.Duration(0)
	c, out := at(&now)
	for range 60 {
		c.Warn("it waits")
		now += time.Minute
	}
	if n := strings.Count(out.String(), "it waits"); n != 2 {
		t.Errorf("the same line comes %d times in an hour", n)
	}
}

func TestRedact(t *testing.T) {
	for line, want := range map[string]string{
		"the token abcdef.0123456789abcdef is bad":       "the token abcdef.*** is bad",
		"GET https://user:hush@example.com/a?key=hush b": "GET https://***@example.com/a?*** b",
		`invalid proxy address "user:hush@proxy"`:        `invalid proxy address "***@proxy"`,
		`"http://h/?a=b&c=d": no`:                        `"http://h/?***": no`,
		"bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJr.x":     "bearer eyJ***",
		"k8s-aws-v1.aHR0cHM6Ly9zdHMuZXUtY2VudHJhbA ends": "k8s-aws-v1.*** ends",
		"-----BEGIN EC PRIVATE KEY----- MHcCAQEE":        "***",
		"LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t= x":    "*** x",
		"/etc/kubernetes/manifests/a.yaml, v1.2.3":       "/etc/kubernetes/manifests/a.yaml, v1.2.3",
		"sha256:0123456789abcdef0123456789abcdef":        "sha256:0123456789abcdef0123456789abcdef",
		"eu-west-1.compute.internal":                     "eu-west-1.compute.internal",
	} {
		if got := Redact(line); got != want {
			t.Errorf("Redact(%q) = %q, want %q", line, got, want)
		}
	}
}

// What is at the path is opened as it is: no link is followed.
func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	lab.WriteFile(t, path, "")
	c, err := Open(path, "a")
	lab.Must(t, err)
	c.Error("x")
	if got := lab.ReadFile(t, path); got != "<3>kios: error: pod a: x\n" {
		t.Errorf("%q", got)
	}
	lab.Must(t, os.Symlink(path, path+".link"))
	if _, err := Open(path+".link", "a"); err == nil {
		t.Error("a link is followed")
	}
}

func FuzzError(f *testing.F) {
	f.Add("user data: \x1b]0;x\x07\n<0>kios: error: forged\u009b")
	f.Fuzz(func(t *testing.T, text string) {
		now := time.Duration(0)
		c, out := at(&now)
		c.Error(text)
		for record := range strings.Lines(out.String()) {
			if !strings.HasPrefix(record, "<3>kios: error: pod a: ") && !strings.HasPrefix(record, "<4>kios: warning: pod a: more") || strings.ContainsAny(strings.TrimSuffix(record, "\n"), "\x1b\x07\r\n\x00") || len(record) > consoleline.MaxPodText+50 {
				t.Errorf("%q makes the record %q", text, record)
			}
		}
	})
}
