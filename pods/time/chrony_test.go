package chrony

import (
	"bytes"
	"encoding/hex"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestConfig(t *testing.T) {
	s := &Service{Etc: "/host/etc", StateDir: "/var/lib/kios/time", RunDir: "/run"}
	want := `sourcedir /run/sources
port 0
cmdport 0
bindcmdaddress /run/chrony/chronyd.sock
pidfile /
makestep 0.1 3
rtcsync
driftfile /var/lib/kios/time/drift
ntsdumpdir /var/lib/kios/time
nosystemcert
ntstrustedcerts /host/etc/ssl/certs/ca-certificates.crt
nocerttimecheck 1
`
	if d := cmp.Diff(want, s.config(choice{ptp: true})); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	clock := "refclock SOCK /run/chrony/clock.sock refid HOST poll 2 filter 1 precision 1e-6 delay 0.1 stratum 2 prefer trust\n"
	s.clock = wrongBy0{}
	if d := cmp.Diff(want+clock, s.config(choice{ptp: true})); d != "" {
		t.Errorf("config with a clock (-want +got):\n%s", d)
	}
}

// wrongBy0 is a hypervisor's clock that nobody reads.
type wrongBy0 struct{ hostClock }

// A server of DHCP alone may not step the clock by years, unless there is nothing to
// lose; nor may one that proves nothing, where others must.
func TestTrust(t *testing.T) {
	dhcp, nts := source{}, source{trusted: true, entry: entry{NTS: true}}
	for _, tc := range []struct {
		what string
		s    Service
		c    choice
		want string
	}{
		{"DHCP", Service{}, choice{sources: []source{dhcp}, byDHCP: true}, "maxchange 86400 0 -1"},
		{"DHCP, far off", Service{confirm: true}, choice{sources: []source{dhcp}, byDHCP: true}, "minsources 2"},
		{"a clock without an idea", Service{clueless: true}, choice{sources: []source{dhcp}, byDHCP: true}, ""},
		{"a hypervisor", Service{clock: wrongBy0{}}, choice{sources: []source{dhcp}, byDHCP: true, ptp: true}, ""},
		{"the user", Service{}, choice{sources: []source{{trusted: true}}}, ""},
		{"proof", Service{}, choice{sources: []source{nts, nts}}, "authselectmode require"},
		{"some proof", Service{}, choice{sources: []source{nts, {trusted: true}}}, ""},
	} {
		var got []string
		for line := range strings.Lines(tc.s.config(tc.c)) {
			if strings.HasPrefix(line, "maxchange") || strings.HasPrefix(line, "minsources") || strings.HasPrefix(line, "authselectmode") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

// The layout is that of chronyd on amd64: two longs, a double, four ints.
func TestSample(t *testing.T) {
	got := hex.EncodeToString(sample(1500*time.Millisecond, time.Unix(2, 3000)))
	want := "0200000000000000" + "0300000000000000" + "000000000000f83f" + "00000000" + "00000000" + "00000000" + "4b434f53"
	if got != want {
		t.Errorf("sample = %s, want %s", got, want)
	}
	// What the microseconds cannot hold is in the offset.
	if got, want := sample(100, time.Unix(2, 3400)), sample(500, time.Unix(2, 3000)); !bytes.Equal(got, want) {
		t.Errorf("sample = %x, want %x", got, want)
	}
}

// chronyd's stand-in here tells what it may do. It is a user without any
// capability but the one to set the clock, and with none if it only observes.
func TestPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // its user must get there
		lab.Must(t, os.Chmod(d, 0o755))
	}
	program := filepath.Join(dir, "chronyd")
	lab.Must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >&2\ncat /proc/self/status >&2\n"), 0o755))
	for _, tt := range []struct {
		observe, restarted bool
		caps, args         string
	}{
		{false, false, "0000000002000000", "-U -F 1 -d -f /run/chrony.conf\n"},
		{false, true, "0000000002000000", "-U -F 1 -d -f /run/chrony.conf -R\n"},
		{true, false, "0000000000000000", "-U -F 1 -d -f /run/chrony.conf -x\n"},
	} {
		s := &Service{Chronyd: program, RunDir: "/run", Observe: tt.observe, Log: log.New(io.Discard, "", 0)}
		d, err := s.startDaemon(tt.restarted)
		lab.Must(t, err)
		var out strings.Builder
		for ended := false; !ended; {
			select {
			case line := <-d.lines:
				out.WriteString(line + "\n")
			case <-d.ended:
				ended = true
			}
		}
		for _, want := range []string{
			tt.args, "Uid:\t123\t123\t123\t123\n", "Gid:\t123\t123\t123\t123\n", "Groups:\t \n",
			"CapPrm:\t" + tt.caps, "CapEff:\t" + tt.caps, "CapAmb:\t" + tt.caps,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("observe %v, restarted %v: no %q in\n%s", tt.observe, tt.restarted, want, &out)
			}
		}
	}
}

func TestStamp(t *testing.T) {
	for line, want := range map[string]string{
		"2026-11-24T11:30:48Z Selected source 192.0.2.1": "Selected source 192.0.2.1",
		"1970-01-01T00:00:09Z x":                         "x",
		"no stamp":                                       "no stamp",
	} {
		if got := stamp().ReplaceAllString(line, ""); got != want {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0.000006517":       7 * time.Microsecond,
		"-12.3456789":       -12345679 * time.Microsecond,
		"1795519854.000000": 1795519854 * time.Second,
	} {
		if got, ok := seconds(text); !ok || got != want {
			t.Errorf("seconds(%q) = %v, %v, want %v", text, got, ok, want)
		}
	}
	if _, ok := seconds("soon"); ok {
		t.Error("seconds takes a word")
	}
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "kios")
	w, err := newWatcher(dir, sub, filepath.Join(dir, "never"))
	lab.Must(t, err)
	lab.Must(t, w.add())
	changed, failed := make(chan struct{}), make(chan error, 1)
	go func() { failed <- w.run(t.Context(), changed) }()
	expect := func(what string, do func() error) {
		t.Helper()
		lab.Must(t, do())
		select {
		case <-changed:
		case err := <-failed:
			t.Fatalf("%s: %v", what, err)
		case <-time.After(5 * time.Second):
			t.Fatalf("%s is not noticed", what)
		}
		lab.Must(t, w.add())
	}
	file := filepath.Join(sub, "time.yaml")
	expect("a new directory", func() error { return os.Mkdir(sub, 0o755) })
	expect("a file in it", func() error { return os.WriteFile(file, []byte("x"), 0o644) })
	expect("a change", func() error { return os.WriteFile(file, []byte("y"), 0o644) })
	expect("a rename", func() error { return os.Rename(file, file+"2") })
	expect("the end of the directory", func() error { return os.RemoveAll(sub) })
	expect("its return", func() error { return os.Mkdir(sub, 0o755) })
	expect("a file in the new one", func() error { return os.WriteFile(file, []byte("x"), 0o644) })
}

func TestOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := overwrite(path, []byte("x")); err == nil {
		t.Error("overwrite makes a file")
	}
	lab.Must(t, os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o600))
	before, _ := os.Stat(path)
	lab.Must(t, overwrite(path, []byte("short\n")))
	after, _ := os.Stat(path)
	if text, _ := os.ReadFile(path); string(text) != "short\n" || !os.SameFile(before, after) {
		t.Errorf("the file holds %q, the same file: %v", text, os.SameFile(before, after))
	}
}
