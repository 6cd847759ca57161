package network

import (
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/internal/boottime"
	"kios/internal/control"
	"kios/pods/network/resolvconf"
	"kios/test/lab"
)

// desk is offers that write into a directory of the test's.
func desk(t *testing.T) (o *offers, file func(string) string) {
	dir := t.TempDir()
	s := &Service{StateDir: dir, LastDir: filepath.Join(dir, "last"), Control: filepath.Join(dir, "none"), Log: log.New(io.Discard, "", 0)}
	o = newOffers(s)
	o.last.pace.Burst = 100 // so that no test waits a minute
	t.Cleanup(func() { <-o.last.done })
	return o, func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "absent"
		}
		return string(text)
	}
}

func servers(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestOffersMerge(t *testing.T) {
	o, file := desk(t)
	o.open(t.Context())
	if got := file("resolv.conf"); got != "absent" {
		t.Errorf("with nothing to say, resolv.conf is written: %q", got)
	}
	o.set(2, byDHCP4, learned{DNS: servers("10.0.0.1"), Search: []string{"a.example"}, NTP: []string{"10.0.0.9"}})
	o.set(2, byRouter, learned{DNS: servers("2001:db8::1"), Search: []string{"a.example", "b.example"}})
	o.set(1, byDHCP6, learned{DNS: servers("2001:db8::2"), NTP: []string{"10.0.0.9", "2001:db8::9"}})
	expect := func(name, want string) {
		t.Helper()
		if diff := cmp.Diff(want, file(name)); diff != "" {
			t.Errorf("%s, want -, got +:\n%s", name, diff)
		}
	}
	expect("resolv.conf", resolvconf.Marker+"\nsearch a.example b.example\nnameserver 2001:db8::2\nnameserver 10.0.0.1\nnameserver 2001:db8::1\n")
	expect("ntp", "10.0.0.9\n2001:db8::9\n")
	// What the file says of an interface stands in place of what that learned,
	// field by field, and before what the others did.
	o.set(2, byFile, learned{DNS: servers("192.0.2.1")})
	expect("resolv.conf", resolvconf.Marker+"\nsearch a.example b.example\nnameserver 192.0.2.1\nnameserver 2001:db8::2\n")
	o.forget(1)
	o.set(2, byDHCP4, learned{})
	o.set(2, byRouter, learned{})
	expect("resolv.conf", resolvconf.Marker+"\nnameserver 192.0.2.1\n")
	expect("ntp", "absent")
	lab.Until(t, 10*time.Second, "a copy", func() bool { return file("last/resolv.conf") == file("resolv.conf") })
}

// A router can say another thing many times in a second.
func TestOffersThatChangeAllTheTime(t *testing.T) {
	o, file := desk(t)
	o.pace.Every = time.Second
	o.open(t.Context())
	o.forget(1) // the first text
	began, writes, last := boottime.Now(), 0, file("resolv.conf")
	for n := range 2001 {
		o.set(1, byRouter, learned{DNS: servers("2001:db8::1", "2001:db8::2")[:1+n%2]})
		if text := file("resolv.conf"); text != last {
			writes, last = writes+1, text
		}
	}
	if most := o.pace.Burst + int((boottime.Now()-began)/o.pace.Every) + 1; writes > most {
		t.Errorf("resolv.conf was written %d times, want %d at most", writes, most)
	}
	o.set(1, byRouter, learned{DNS: servers("2001:db8::3")})
	lab.Until(t, 10*time.Second, "the latest", func() bool {
		return file("resolv.conf") == resolvconf.Marker+"\nnameserver 2001:db8::3\n" && file("last/resolv.conf") == file("resolv.conf")
	})
}

// A disk may hang.
func TestKeeperNeverWaits(t *testing.T) {
	k := newKeeper(log.New(io.Discard, "", 0), filepath.Join(t.TempDir(), "copy"), "")
	for range 100 {
		k.keep("old") // and nobody writes
	}
	k.keep("new")
	go k.run(t.Context())
	t.Cleanup(func() { <-k.done })
	lab.Until(t, 10*time.Second, "the latest text", func() bool { return holds(k.path, "new") })
}

// After a restart everything is as it was, and nothing is written in between.
func TestOffersGatherBeforeTheyAreOpen(t *testing.T) {
	o, file := desk(t)
	o.set(1, byDHCP4, learned{DNS: servers("10.0.0.1")})
	if got := file("resolv.conf"); got != "absent" {
		t.Errorf("resolv.conf is written too early: %q", got)
	}
	o.set(2, byFile, learned{DNS: servers("10.0.0.2")})
	o.open(t.Context())
	if got, want := file("resolv.conf"), resolvconf.Marker+"\nnameserver 10.0.0.2\nnameserver 10.0.0.1\n"; got != want {
		t.Errorf("resolv.conf = %q, want %q", got, want)
	}
}

func TestOfferedHostnameStays(t *testing.T) {
	o, file := desk(t)
	o.open(t.Context())
	for _, step := range []struct {
		index      int
		name, want string
	}{
		{2, "b", "b\n"},
		{1, "a", "b\n"}, // it came later
		{2, "c", "a\n"}, // nobody offers b any more
		{1, "", "c\n"},
		{2, "", "absent"},
	} {
		o.set(step.index, byDHCP4, learned{Hostname: step.name})
		if got := file("hostname"); got != step.want {
			t.Errorf("after %q on interface %d: %q, want %q", step.name, step.index, got, step.want)
		}
	}
}

// PID 1 has taken a few names from a pod that ran before this one: it takes the one on
// offer when it may.
func TestNameThatIsTakenLater(t *testing.T) {
	o, _ := desk(t)
	taken := make(chan string, 1)
	refuse := error(control.Later("too soon"))
	server, err := control.Listen(o.control, func(name string) error {
		answer := refuse
		if refuse = nil; answer == nil {
			taken <- name
		}
		return answer
	})
	lab.Must(t, err)
	go server.Run(t.Logf)
	t.Cleanup(func() { server.Close() })
	o.names.Every = 50 * time.Millisecond
	o.open(t.Context())
	o.set(1, byDHCP4, learned{Hostname: "node-7"})
	select {
	case name := <-taken:
		if name != "node-7" {
			t.Errorf("PID 1 was told %q", name)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the name is not told again")
	}
}

// A server can send another name with each lease, and each name that PID 1 takes starts
// the kubelet again.
func TestNamesThatChangeAllTheTime(t *testing.T) {
	o, _ := desk(t)
	var text lab.Buffer
	o.log = log.New(&text, "", 0)
	names := make(chan string, 1000)
	server, err := control.Listen(o.control, func(name string) error { names <- name; return nil })
	lab.Must(t, err)
	go server.Run(t.Logf)
	t.Cleanup(func() { server.Close() })
	o.pace.Burst, o.names.Every = 1000, 500*time.Millisecond
	o.open(t.Context())
	began := boottime.Now()
	for n := range 500 {
		o.set(1, byDHCP4, learned{Hostname: fmt.Sprintf("node-%d", n)})
	}
	told := 0
	for name := ""; name != "node-499"; told++ {
		select {
		case name = <-names:
		case <-time.After(10 * time.Second):
			t.Fatal("PID 1 does not learn the latest name")
		}
	}
	most := nameBurst + int((boottime.Now()-began)/o.names.Every) + 1
	if told > most {
		t.Errorf("PID 1 was told %d names, want %d at most", told, most)
	}
	if lines := strings.Count(text.String(), "\n"); lines > 2*most { // of each: that it waits, and that it is taken
		t.Errorf("the log has %d lines about %d names", lines, told)
	}
}
