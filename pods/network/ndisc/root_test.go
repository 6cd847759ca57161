//go:build root

// These tests watch real routers, dnsmasq and radvd, on a pair of network
// namespaces joined by a cable. They take root and Debian's dnsmasq-base, radvd
// and iproute2:
//
//	go test -tags root ./pods/network/ndisc

package ndisc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/test/lab"
)

// watcherEnv in the environment makes this program one that prints what Watch
// sends: a namespace is entered by a whole process, or else goroutines stray.
const watcherEnv = "KIOS_TEST_NDISC_WATCH"

func TestMain(m *testing.M) {
	if os.Getenv(watcherEnv) == "" {
		os.Exit(m.Run())
	}
	events, err := Watch(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for e := range events {
		if err := json.NewEncoder(os.Stdout).Encode(e); err != nil {
			os.Exit(1)
		}
	}
	os.Exit(1)
}

// lan is a network with a router's end, fd77::1/64 on the bridge "srv", and a
// node's end, the interface "eth0", which is down. Its cable ends in the bridge
// as "port".
type lan struct {
	t            *testing.T
	router, node string // names of the namespaces
	events       chan Event
	watcher      *exec.Cmd
}

func newLAN(t *testing.T) *lan {
	lab.NeedRoot(t)
	t.Parallel()
	name := strings.ToLower(strings.NewReplacer("/", "-", "Test", "").Replace(t.Name()))
	name = fmt.Sprintf("kios-nd-%d-%s", os.Getpid(), name)
	l := &lan{t: t, router: name + "-r", node: name + "-n"}
	for _, ns := range []string{l.router, l.node} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { l.run("ip", "netns", "del", ns) })
	}
	// A switch on the router's side: the router sees nothing of the cable.
	l.run("ip", "-n", l.router, "link", "add", "srv", "type", "bridge", "mcast_snooping", "0")
	l.run("ip", "-n", l.router, "link", "add", "hold", "up", "master", "srv", "type", "veth", "peer", "name", "held")
	l.run("ip", "-n", l.router, "link", "set", "held", "up")
	l.run("ip", "link", "add", "port", "netns", l.router, "type", "veth", "peer", "name", "eth0", "netns", l.node)
	l.run("ip", "-n", l.router, "link", "set", "port", "up", "master", "srv")
	l.sysctl(l.router, "all/forwarding", "1")
	l.sysctl(l.router, "srv/accept_dad", "0") // it is a router at once
	l.run("ip", "-n", l.router, "addr", "add", "fd77::1/64", "dev", "srv", "nodad")
	l.run("ip", "-n", l.router, "link", "set", "srv", "up")
	// As on a node, which forwards.
	l.sysctl(l.node, "all/forwarding", "1")
	l.sysctl(l.node, "eth0/accept_ra", "2")
	return l
}

// newHeardLAN is newLAN with a quiet router that the watcher has heard.
func newHeardLAN(t *testing.T) (l *lan, router *exec.Cmd) {
	t.Helper()
	l = newLAN(t)
	router = l.quietRadvd("fd77::53")
	l.watch()
	l.up()
	l.expect("a server", 10*time.Second, has("fd77::53"))
	return l, router
}

func (l *lan) sysctl(ns, key, value string) {
	l.t.Helper()
	l.run("ip", "netns", "exec", ns, "sh", "-c", "echo "+value+" > /proc/sys/net/ipv6/conf/"+key)
}

func (l *lan) run(name string, args ...string) {
	l.t.Helper()
	lab.Run(l.t, name, args...)
}

func (l *lan) up() { l.run("ip", "-n", l.node, "link", "set", "eth0", "up") }

// start starts a program in a namespace; it is killed when the test ends.
func (l *lan) start(cmd *exec.Cmd) {
	l.t.Helper()
	lab.Must(l.t, cmd.Start())
	l.t.Cleanup(func() { l.end(cmd, syscall.SIGKILL) })
}

func (l *lan) end(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Signal(signal)
		_ = cmd.Wait()
	}
}

// cut takes the carrier away. The kernel tells of that with some delay, and not
// at all if the carrier is back before.
func (l *lan) cut() {
	l.t.Helper()
	l.run("ip", "-n", l.router, "link", "set", "port", "down")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ip", "-n", l.node, "link", "show", "eth0").Output()
		if err != nil || time.Now().After(deadline) {
			l.t.Fatalf("the carrier stays: %v\n%s", err, out)
		}
		if strings.Contains(string(out), "DOWN ") {
			return
		}
	}
}

func (l *lan) dnsmasq(options ...string) {
	args := append([]string{"netns", "exec", l.router, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
		"--port=0", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(l.t.TempDir(), "leases"), "--enable-ra",
		"--dhcp-option=option6:dns-server,[fd77::53],[fe80::53]", "--dhcp-option=option6:domain-search,a.example,b.example"}, options...)
	l.start(exec.Command("ip", args...))
}

// radvd advertises the server for as long as radvd lets it be at least, four
// seconds, and repeats that.
func (l *lan) radvd(server string) *exec.Cmd {
	return l.startRadvd(server, "MinRtrAdvInterval 3; MaxRtrAdvInterval 4;")
}

// quietRadvd has sent the advertisement of its start, which comes back through
// "held". Unless asked, it sends the next one after 16 seconds (RFC 4861,
// section 6.2.4).
func (l *lan) quietRadvd(server string) *exec.Cmd {
	l.t.Helper()
	before := l.counter(l.router, advertisements)
	cmd := l.startRadvd(server, "MinRtrAdvInterval 900; MaxRtrAdvInterval 1800;")
	// radvd takes up to 16 seconds if its interface was not ready when it started.
	for deadline := time.Now().Add(20 * time.Second); l.counter(l.router, advertisements) == before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatal("the router sends no advertisement")
		}
	}
	return cmd
}

func (l *lan) startRadvd(server, times string) *exec.Cmd {
	l.t.Helper()
	dir := l.t.TempDir()
	conf := filepath.Join(dir, "radvd.conf")
	text := "interface srv { AdvSendAdvert on; " + times + " RDNSS " + server + " { }; DNSSL a.example { }; };\n"
	lab.WriteFile(l.t, conf, text)
	cmd := exec.Command("ip", "netns", "exec", l.router, "radvd", "-n", "-m", "stderr", "-C", conf, "-p", filepath.Join(dir, "pid"))
	l.start(cmd)
	return cmd
}

const (
	solicitations  = "Icmp6InRouterSolicits"
	advertisements = "Icmp6InRouterAdvertisements"
)

// counter returns how many messages a namespace's interfaces have received.
func (l *lan) counter(ns, name string) int {
	l.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", ns, "cat", "/proc/net/snmp6").Output()
	lab.Must(l.t, err)
	var n int
	_, text, _ := strings.Cut(string(out), name)
	if _, err := fmt.Sscan(text, &n); err != nil {
		l.t.Fatalf("counter %s: %v", name, err)
	}
	return n
}

func (l *lan) watch() {
	l.t.Helper()
	self, err := os.Executable()
	lab.Must(l.t, err)
	cmd := exec.Command("ip", "netns", "exec", l.node, self)
	cmd.Env = append(os.Environ(), watcherEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	lab.Must(l.t, err)
	l.start(cmd)
	events := make(chan Event, 1000)
	go func() {
		defer close(events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e Event
			if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
				events <- e
			}
		}
	}()
	l.events, l.watcher = events, cmd
}

func (l *lan) expect(what string, within time.Duration, ok func(Event) bool) Event {
	l.t.Helper()
	deadline := time.After(within)
	var seen []Event
	for {
		select {
		case e, open := <-l.events:
			if !open {
				l.t.Fatalf("the watcher ended; before: %+v", seen)
			}
			if ok(e) {
				return e
			}
			seen = append(seen, e)
		case <-deadline:
			l.t.Fatalf("not within %s: %s; instead: %+v", within, what, seen)
		}
	}
}

func has(server string) func(Event) bool {
	return func(e Event) bool {
		for _, s := range e.DNS {
			if s.Addr == netip.MustParseAddr(server) {
				return len(e.Search) > 0
			}
		}
		return false
	}
}

func TestModesOfDNSMasq(t *testing.T) {
	for _, tc := range []struct {
		name, mode     string
		managed, other bool
	}{
		{"slaac", "fd77::,ra-only,64", false, false},
		{"stateless", "fd77::,ra-stateless,64", false, true},
		{"stateful", "fd77::100,fd77::1ff,64,2m", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLAN(t)
			l.dnsmasq("--dhcp-range=" + tc.mode)
			l.watch()
			l.up()
			e := l.expect("servers and flags", 10*time.Second, func(e Event) bool {
				return has("fd77::53")(e) && e.Managed == tc.managed && e.Other == tc.other
			})
			if len(e.DNS) != 2 || e.DNS[1].Addr.String() != "fe80::53%eth0" {
				t.Errorf("DNS = %v, want fd77::53 and fe80::53%%eth0", e.DNS)
			}
			if len(e.Search) != 2 || e.Search[0].Name != "a.example" || e.Search[1].Name != "b.example" {
				t.Errorf("Search = %v, want a.example and b.example", e.Search)
			}
		})
	}
}

// A router that is asked no second time within half an hour has to be asked.
func TestStartsAfterTheAdvertisement(t *testing.T) {
	l, _ := newHeardLAN(t)
	l.end(l.watcher, syscall.SIGKILL)
	before := l.counter(l.router, solicitations)
	l.watch()
	l.expect("the server again", 8*time.Second, has("fd77::53"))
	if l.counter(l.router, solicitations) == before {
		t.Error("the router was not asked")
	}
}

func TestRouterDies(t *testing.T) {
	l := newLAN(t)
	router := l.radvd("fd77::53")
	l.watch()
	l.up()
	first := l.expect("a server", 10*time.Second, has("fd77::53"))
	l.expect("a later expiry", 8*time.Second, func(e Event) bool {
		return has("fd77::53")(e) && e.DNS[0].Expiry > first.DNS[0].Expiry
	})
	l.end(router, syscall.SIGKILL)
	l.expect("nothing left", 12*time.Second, func(e Event) bool { return len(e.DNS)+len(e.Search) == 0 })
}

func TestRouterLeaves(t *testing.T) {
	l, router := newHeardLAN(t)
	l.end(router, syscall.SIGTERM)
	l.expect("nothing left", 5*time.Second, func(e Event) bool { return len(e.DNS)+len(e.Search) == 0 })
}

// The kernel does not ask the routers of a link that returns.
func TestLinkReturnsElsewhere(t *testing.T) {
	l, router := newHeardLAN(t)
	l.cut()
	l.end(router, syscall.SIGKILL)
	l.quietRadvd("fd77::54")
	l.run("ip", "-n", l.router, "link", "set", "port", "up")
	l.expect("the new server", 10*time.Second, has("fd77::54"))
}

func TestInterfaceDownAndAway(t *testing.T) {
	empty := func(e Event) bool { return !e.Managed && !e.Other && len(e.DNS)+len(e.Search) == 0 }
	l := newLAN(t)
	l.dnsmasq("--dhcp-range=fd77::100,fd77::1ff,64,2m")
	l.watch()
	l.up()
	full := func(e Event) bool { return has("fd77::53")(e) && e.Managed }
	l.expect("a server and flags", 10*time.Second, full)
	l.run("ip", "-n", l.node, "link", "set", "eth0", "down")
	l.expect("nothing left", 5*time.Second, empty)
	l.up()
	l.expect("all of it again", 10*time.Second, full)
	l.run("ip", "-n", l.node, "link", "del", "eth0")
	l.expect("nothing left", 5*time.Second, empty)
}

// While the watcher sleeps, the kernel has more to say than it keeps.
func TestLostMessages(t *testing.T) {
	l, router := newHeardLAN(t)
	lab.Must(t, l.watcher.Process.Signal(syscall.SIGSTOP))
	flood := "for i in $(seq 1500); do echo link set lo up; echo link set lo down; done | ip -batch -"
	l.run("ip", "netns", "exec", l.node, "sh", "-c", flood)
	// Its goodbye is lost, and the newcomer's greeting, too.
	l.end(router, syscall.SIGTERM)
	l.quietRadvd("fd77::54")
	lab.Must(t, l.watcher.Process.Signal(syscall.SIGCONT))
	l.expect("the new server", 12*time.Second, has("fd77::54"))
}
