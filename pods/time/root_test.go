//go:build root

// These tests run the service as its pod does, in a root directory with the
// files of its image and with the capabilities that its manifest asks for,
// against real servers: chronyd and dnsmasq, on a pair of network namespaces
// joined by a cable. They take root, Debian's dnsmasq-base, iproute2 and
// util-linux, and "make build", for the files of the image:
//
//	go test -tags root ./pods/time
//
// No chronyd here ever sets the clock (-x). A server's time is made wrong by a
// reference clock that says so.

package chrony

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kios/pods/network/resolvconf"
	"kios/test/lab"
	"kios/test/lab/machine"
	"kios/test/lab/netns"
)

// asService is set where this program is the service under test.
const asService = "KIOS_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		serve()
	}
	os.Exit(m.Run())
}

// serve runs the service with the paths of its pod.
func serve() {
	s := &Service{
		Chronyd: "/usr/sbin/chronyd", Chronyc: "/usr/bin/chronyc",
		Etc: "/host/etc", NetworkDir: "/run/kios/network", StateDir: "/var/lib/kios/time", RunDir: "/run",
		ResolvConf: "/etc/resolv.conf", ClockSocket: "/run/kios/clock/socket",
		Observe: true, Log: log.New(os.Stdout, "", 0),
	}
	if os.Getenv(asService) == "clock" {
		s.clock, s.clockName = wrongClock(time.Hour), "a clock that is an hour ahead"
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	if err := s.Run(ctx); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

type wrongClock time.Duration

func (c wrongClock) Offset() (time.Duration, time.Time, error) {
	return time.Duration(c), time.Now(), nil
}

// lan is a network with a server's end, which has 10.79.0.1/24, and a node's
// end, which has 10.79.0.2/24, and the node's root directory.
type lan struct {
	t            *testing.T
	root         string
	server, node string // names of the namespaces
	service      *netns.Process
}

func newLAN(t *testing.T) *lan {
	lab.NeedRoot(t)
	t.Parallel()
	name := fmt.Sprintf("kios-%d-%s", os.Getpid(), strings.ToLower(t.Name()))
	l := &lan{t: t, root: t.TempDir(), server: name + "-s", node: name + "-n"}
	l.layOut()
	for _, ns := range []string{l.server, l.node} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() {
			// What a service that failed left behind is this test's own.
			for pid := range strings.FieldsSeq(l.run("ip", "netns", "pids", ns)) {
				_ = exec.Command("kill", "-KILL", pid).Run()
			}
			l.run("ip", "netns", "del", ns)
		})
	}
	l.run("ip", "link", "add", "srv", "netns", l.server, "type", "veth", "peer", "name", "eth0", "netns", l.node)
	l.run("ip", "-n", l.server, "addr", "add", "10.79.0.1/24", "dev", "srv")
	l.run("ip", "-n", l.server, "addr", "add", "10.79.0.9/24", "dev", "srv")
	l.run("ip", "-n", l.node, "addr", "add", "10.79.0.2/24", "dev", "eth0")
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.run("ip", "-n", l.node, "link", "set", "eth0", "up")
	return l
}

// layOut makes the root directory of the pod's container.
func (l *lan) layOut() {
	l.t.Helper()
	for _, f := range imageFiles(l.t) {
		l.place(f.path, f.data, f.mode)
	}
	lab.Must(l.t, os.Chmod(l.root, 0o755))
	for _, dir := range []string{"proc", "dev", "srv", "host/etc", "run/kios/network", "var/lib/kios/time"} {
		lab.Must(l.t, os.MkdirAll(l.path(dir), 0o755))
	}
	program, err := os.ReadFile("/proc/self/exe")
	lab.Must(l.t, err)
	l.place("service", program, 0o555)
	l.place("etc/resolv.conf", []byte("nameserver 127.0.0.1\n"), 0o644)
	// As the container finds it: what the link leads to.
	l.place("host/etc/resolv.conf", []byte(ours), 0o644)
	l.run("ln", "-s", "usr/lib64", l.path("lib64"))
}

func (l *lan) path(name string) string { return filepath.Join(l.root, name) }

func (l *lan) place(name string, data []byte, mode os.FileMode) {
	l.t.Helper()
	lab.Must(l.t, os.MkdirAll(filepath.Dir(l.path(name)), 0o755))
	lab.Must(l.t, os.WriteFile(l.path(name), data, mode))
}

// replaceFile does it as the pod network does: by a rename.
func (l *lan) replaceFile(name, content string) {
	l.t.Helper()
	l.place(name+".new", []byte(content), 0o644)
	lab.Must(l.t, os.Rename(l.path(name+".new"), l.path(name)))
}

type imageFile struct {
	path string
	data []byte
	mode os.FileMode
}

// imageFiles returns the files of the pod's image, unpacked once.
var imageFiles = func() func(t *testing.T) []imageFile {
	var once sync.Once
	var files []imageFile
	return func(t *testing.T) []imageFile {
		t.Helper()
		once.Do(func() { files = readImage(t) })
		if files == nil {
			t.Fatal("the first test could not unpack the image")
		}
		return files
	}
}()

func readImage(t *testing.T) (files []imageFile) {
	t.Helper()
	dir := t.TempDir()
	machine.Unpack(t, "chrony", dir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files = append(files, imageFile{strings.TrimPrefix(path, dir+"/"), data, info.Mode().Perm()})
		return err
	})
	lab.Must(t, err)
	return files
}

func (l *lan) run(name string, args ...string) string {
	l.t.Helper()
	return lab.Run(l.t, name, args...)
}

func (l *lan) start(ns string, env string, args ...string) *netns.Process {
	l.t.Helper()
	return netns.Start(l.t, ns, []string{env}, args...)
}

// startService starts the service as runc would: root, with the capabilities
// and the group of the manifest and no_new_privs. "ip netns exec" has made a
// mount namespace, so the mounts go with the process.
func (l *lan) startService(kind string) {
	l.t.Helper()
	script := `mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" &&
exec setpriv --groups 123 --bounding-set -all,+sys_time,+setuid,+setgid,+sys_chroot --no-new-privs chroot "$0" /service`
	l.service = l.start(l.node, asService+"="+kind, "sh", "-c", script, l.root)
}

// startServer starts an NTP server whose time is that of this machine until
// shift makes it wrong.
func (l *lan) startServer(more ...string) *netns.Process {
	l.t.Helper()
	conf := append([]string{"local stratum 3", "allow", "cmdport 0", "bindcmdaddress /", "pidfile /", "driftfile /srv/drift",
		"refclock SOCK /srv/shift.sock poll 0 trust prefer"}, more...)
	l.place("srv/chrony.conf", []byte(strings.Join(conf, "\n")+"\n"), 0o644)
	return l.start(l.server, "", "sh", "-c", `mount --bind /dev "$0/dev" && exec chroot "$0" /usr/sbin/chronyd -x -d -u root -f /srv/chrony.conf`, l.root)
}

// shift makes the server's time wrong until the test ends, or stop is called.
func (l *lan) shift(server *netns.Process, by time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if conn, err := net.Dial("unixgram", l.path("srv/shift.sock")); err == nil {
				_, _ = conn.Write(sample(by, time.Now()))
				conn.Close()
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	before := server.String()
	l.eventually("the server's time is shifted", 30*time.Second, func() bool {
		return strings.Contains(strings.TrimPrefix(server.String(), before), "System clock wrong by")
	})
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	l.t.Cleanup(stop)
	return stop
}

func (l *lan) eventually(what string, within time.Duration, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func (l *lan) expectLine(text string, within time.Duration) {
	l.t.Helper()
	l.eventually("the line "+text, within, func() bool { return strings.Contains(l.service.String(), text) })
}

// expectWrongBy waits until chronyd has found the clock that much behind, to
// half a second.
func (l *lan) expectWrongBy(want, within time.Duration) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("the clock wrong by %v", want), within, func() bool {
		for line := range strings.Lines(l.service.String()) {
			found := wrongBy().FindStringSubmatch(strings.TrimPrefix(line, "chronyd: "))
			if found == nil {
				continue
			}
			if by, ok := seconds(found[1]); ok && (by-want).Abs() < time.Second/2 {
				return true
			}
		}
		return false
	})
}

// chronyc does what a user does with kubectl exec: as root of the container,
// without capabilities.
func (l *lan) chronyc(args ...string) string {
	l.t.Helper()
	var out []byte
	l.eventually("an answer to chronyc "+strings.Join(args, " "), 10*time.Second, func() bool {
		argv := append([]string{"--groups", "123", "--bounding-set", "-all,+sys_chroot", "--no-new-privs",
			"chroot", l.root, "/usr/bin/chronyc", "-n"}, args...)
		var err error
		out, err = exec.Command("setpriv", argv...).CombinedOutput()
		return err == nil // it fails while chronyd is being restarted
	})
	return string(out)
}

// daemonStatus returns /proc/PID/status of the node's chronyd.
func (l *lan) daemonStatus() string {
	l.t.Helper()
	for pid := range strings.FieldsSeq(l.run("ip", "netns", "pids", l.node)) {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err == nil && bytes.HasPrefix(status, []byte("Name:\tchronyd\n")) {
			return string(status)
		}
	}
	l.t.Fatal("there is no chronyd")
	return ""
}

func TestServerFromFile(t *testing.T) {
	l := newLAN(t)
	l.startServer()
	l.place("host/etc/kios/time.yaml", []byte("servers:\n  - 10.79.0.1\n"), 0o600)
	l.replaceFile("run/kios/network/ntp", "10.79.0.9\n")
	l.startService("plain")
	l.expectLine("time from server 10.79.0.1 (/etc/kios/time.yaml)", 10*time.Second)
	l.expectLine("chronyd: Loaded seccomp filter", 10*time.Second)
	l.expectLine("synchronised with 10.79.0.1: the clock was ", 20*time.Second)
	if out := l.chronyc("sources"); !strings.Contains(out, "^* 10.79.0.1") || strings.Contains(out, "10.79.0.9") {
		t.Errorf("chronyc sources:\n%s", out)
	}
	if out := l.run("ip", "netns", "exec", l.node, "ss", "-Htuln"); out != "" {
		t.Errorf("something listens:\n%s", out)
	}
	status := l.daemonStatus()
	for _, want := range []string{"Uid:\t123\t123\t123\t123\n", "Gid:\t123\t123\t123\t123\n", "Seccomp:\t2\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("chronyd's status lacks %q:\n%s", want, status)
		}
	}
}

func TestServerFromDHCP(t *testing.T) {
	l := newLAN(t)
	l.startServer()
	l.startService("plain")
	l.expectLine("no time servers: /etc/kios/time.yaml names none, nor does DHCP; the clock runs on its own", 10*time.Second)
	l.replaceFile("run/kios/network/ntp", "10.79.0.1\n10.79.0.1\nrubbish; port 123\n")
	l.expectLine("time from server 10.79.0.1 (DHCP)", 10*time.Second)
	l.expectLine(`DHCP: "rubbish; port 123" is neither an IP address nor a host name`, 5*time.Second)
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)

	l.replaceFile("run/kios/network/ntp", "10.79.0.9\n")
	l.expectLine("chronyd: Removed source 10.79.0.1", 10*time.Second)
	l.expectLine("chronyd: Selected source 10.79.0.9", 20*time.Second)
	lab.Must(t, os.Remove(l.path("run/kios/network/ntp")))
	l.expectLine("chronyd: Removed source 10.79.0.9", 10*time.Second)
	if n := strings.Count(l.service.String(), "synchronised with"); n != 1 {
		t.Errorf("the first synchronisation is told %d times", n)
	}
}

// The directory /etc/kios comes later, the file in it is garbage first, then
// right, then says that nobody is to be asked, and goes.
func TestFileChanges(t *testing.T) {
	l := newLAN(t)
	l.startServer()
	l.replaceFile("run/kios/network/ntp", "10.79.0.9\n")
	l.startService("plain")
	l.expectLine("time from server 10.79.0.9 (DHCP)\n", 10*time.Second)
	l.expectLine("chronyd: Selected source 10.79.0.9", 20*time.Second)

	l.place("host/etc/kios/time.yaml", []byte("\x00\x01garbage"), 0o644)
	l.expectLine("/etc/kios/time.yaml is not YAML: it contains binary data", 10*time.Second)
	l.place("host/etc/kios/time.yaml", []byte("server: 10.79.0.1\n"), 0o644)
	l.expectLine(`/etc/kios/time.yaml: there is no field "server"`, 10*time.Second)
	if strings.Contains(l.service.String(), "Removed source") {
		t.Error("garbage in the file cost a server from DHCP")
	}
	l.place("host/etc/kios/time.yaml", []byte("servers: [{address: 10.79.0.1, iburst: true}, \"a b\"]\n"), 0o644)
	l.expectLine(`/etc/kios/time.yaml: servers[1]: "a b" is neither an IP address nor a host name`, 10*time.Second)
	l.expectLine("time from server 10.79.0.1 (/etc/kios/time.yaml)", 10*time.Second)
	l.expectLine("chronyd: Selected source 10.79.0.1", 20*time.Second)
	l.replaceFile("host/etc/kios/time.yaml", "servers: []\n")
	l.expectLine("no time servers: /etc/kios/time.yaml names none; the clock runs on its own", 10*time.Second)
	l.expectLine("chronyd: Removed source 10.79.0.1", 10*time.Second)
	before := len(l.service.String())
	lab.Must(t, os.RemoveAll(l.path("host/etc/kios")))
	l.eventually("DHCP's server again", 20*time.Second, func() bool {
		return strings.Contains(l.service.String()[before:], "Selected source 10.79.0.9")
	})
}

func TestServerGoneAndBack(t *testing.T) {
	l := newLAN(t)
	server := l.startServer()
	l.place("host/etc/kios/time.yaml", []byte("servers: [10.79.0.1]\n"), 0o644)
	l.startService("plain")
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)
	l.pollFast()
	server.Stop()
	l.expectLine("no time source answers: the clock goes on at its last known rate", 60*time.Second)
	l.startServer()
	l.eventually("the server again", 30*time.Second, func() bool {
		return strings.Count(l.service.String(), "chronyd: Selected source 10.79.0.1") == 2
	})
}

// A server that is silent at first is followed when it answers, and nothing
// ends or waits meanwhile.
func TestNoServerAnswers(t *testing.T) {
	l := newLAN(t)
	l.place("host/etc/kios/time.yaml", []byte("servers: [10.79.0.1]\n"), 0o644)
	l.startService("plain")
	l.expectLine("no time source has answered within 30s", 40*time.Second)
	l.startServer()
	// What the pod network does when the link comes back.
	l.replaceFile("run/kios/network/resolv.conf", ours+"nameserver 10.79.0.1\n")
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)
}

// The name of a server resolves only after /etc/resolv.conf has changed.
func TestNameResolvesLater(t *testing.T) {
	l := newLAN(t)
	l.startServer()
	l.start(l.server, "", "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--user=root", "--no-hosts",
		"--no-resolv", "--pid-file=", "--bind-interfaces", "--listen-address=10.79.0.1", "--address=/time.example/10.79.0.1")
	l.place("host/etc/kios/time.yaml", []byte("pools: [time.example]\n"), 0o644)
	l.startService("plain")
	l.expectLine("time from pool time.example", 10*time.Second)
	l.expectLine("chronyd: Loaded seccomp filter", 10*time.Second)
	l.eventually("a look-up in vain", 10*time.Second, func() bool {
		return strings.Contains(l.chronyc("activity"), "\n8 sources with unknown address")
	})
	l.replaceFile("run/kios/network/resolv.conf", ours+"search example\nnameserver 10.79.0.1\n")
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)
	content, err := os.ReadFile(l.path("etc/resolv.conf"))
	if err != nil || string(content) != ours+"search example\nnameserver 10.79.0.1\n" {
		t.Errorf("the container's resolv.conf = %q, %v", content, err)
	}
	l.replaceFile("run/kios/network/resolv.conf", ours)
	l.eventually("a shorter resolv.conf", 10*time.Second, func() bool {
		content, _ := os.ReadFile(l.path("etc/resolv.conf"))
		return string(content) == ours
	})
	// A file of the user's own counts in place of the network's.
	l.replaceFile("host/etc/resolv.conf", "nameserver 192.0.2.1\n")
	l.eventually("the user's resolv.conf", 10*time.Second, func() bool {
		content, _ := os.ReadFile(l.path("etc/resolv.conf"))
		return string(content) == "nameserver 192.0.2.1\n"
	})
}

// ours begins the resolv.conf of the pod network.
const ours = resolvconf.Marker + "\n"

// A clock that is years wrong is stepped. As chronyd is not allowed to set this
// machine's clock, it says that it could not.
func TestYearsWrong(t *testing.T) {
	l := newLAN(t)
	l.shift(l.startServer(), 500000*time.Hour)
	l.place("host/etc/kios/time.yaml", []byte("servers: [10.79.0.1]\n"), 0o644)
	l.startService("plain")
	l.expectWrongBy(500000*time.Hour, 30*time.Second)
	l.expectLine("chronyd: Could not step system clock", 5*time.Second)
	l.expectLine("synchronised with 10.79.0.1: the clock was ", 5*time.Second)
	l.expectLine(" behind\n", 5*time.Second)
}

// A single server from DHCP must not set the clock by weeks. Two may.
func TestDHCPFarOff(t *testing.T) {
	l := newLAN(t)
	l.shift(l.startServer(), 1000*time.Hour)
	l.replaceFile("run/kios/network/ntp", "10.79.0.1\n")
	l.startService("plain")
	l.expectLine("a time server from DHCP says that the clock is 1000h0m0s off", 30*time.Second)
	l.expectLine("(ignored)", 30*time.Second)
	if text := l.service.String(); strings.Contains(text, "synchronised with") || strings.Contains(text, "step") {
		t.Errorf("one server set the clock:\n%s", text)
	}
	l.replaceFile("run/kios/network/ntp", "10.79.0.1\n10.79.0.9\n")
	l.expectWrongBy(1000*time.Hour, 60*time.Second)
	l.expectLine("synchronised with 10.79.0.", 20*time.Second)
}

// A clock that was right is set forward when it is far behind, and never back.
func TestPause(t *testing.T) {
	l := newLAN(t)
	server := l.startServer()
	l.place("host/etc/kios/time.yaml", []byte("servers: [10.79.0.1]\n"), 0o644)
	l.startService("plain")
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)
	l.pollFast()
	for range 4 { // past the updates that may step
		l.nextUpdate()
	}
	stop := l.shift(server, time.Hour)
	l.expectWrongBy(time.Hour, 60*time.Second)
	l.expectLine("it is set forward\nchronyc makestep: exit status 1: 500 Failure", 5*time.Second)
	stop()
	// Once it has followed one reference clock, chronyd may never follow another.
	server.Stop()
	l.shift(l.startServer(), -time.Hour)
	l.expectWrongBy(-time.Hour, 60*time.Second)
	before := len(l.service.String())
	l.nextUpdate()
	l.nextUpdate()
	if later := l.service.String()[before:]; strings.Contains(later, "step") || strings.Contains(later, "set forward") {
		t.Errorf("the clock was to be set back:\n%s", later)
	}
}

// pollFast makes chronyd ask each second, where it would once a minute.
func (l *lan) pollFast() {
	l.t.Helper()
	l.chronyc("minpoll", "10.79.0.1", "0")
	l.chronyc("maxpoll", "10.79.0.1", "0")
	l.chronyc("burst", "1/1")
}

// nextUpdate waits until chronyd has updated the clock.
func (l *lan) nextUpdate() {
	l.t.Helper()
	last := func() string { return strings.Split(l.chronyc("-c", "tracking"), ",")[3] }
	before := last()
	l.eventually("an update", 30*time.Second, func() bool { return last() != before })
}

// After a restart in the same boot the clock is not stepped.
func TestRestart(t *testing.T) {
	l := newLAN(t)
	server := l.startServer()
	l.place("host/etc/kios/time.yaml", []byte("servers: [10.79.0.1]\n"), 0o644)
	l.startService("plain")
	l.expectLine("synchronised with 10.79.0.1", 20*time.Second)
	l.service.Stop()
	l.expectLine("chronyd: chronyd exiting", 5*time.Second)
	if out := l.run("ip", "netns", "pids", l.node); out != "" {
		t.Errorf("the service left processes: %s", out)
	}
	if _, err := os.Stat(l.path("var/lib/kios/time/drift")); err != nil {
		t.Errorf("the drift was not kept: %v", err)
	}
	l.shift(server, -5*time.Second)
	l.startService("plain")
	l.expectWrongBy(-5*time.Second, 30*time.Second)
	if strings.Contains(l.service.String(), "step") {
		t.Error("the clock was stepped")
	}
}

// When chronyd dies, the service ends with an error, for the kubelet to see.
func TestDaemonDies(t *testing.T) {
	l := newLAN(t)
	l.startService("plain")
	l.expectLine("chronyd: Loaded seccomp filter", 10*time.Second)
	for line := range strings.Lines(l.daemonStatus()) {
		if pid, ok := strings.CutPrefix(line, "Pid:\t"); ok {
			l.run("kill", "-KILL", strings.TrimSpace(pid))
		}
	}
	l.expectLine("chronyd ended: signal: killed", 5*time.Second)
	l.eventually("no process", 5*time.Second, func() bool { return l.run("ip", "netns", "pids", l.node) == "" })
}

// The hypervisor's clock, here one made up, is followed, and outvotes a server
// from DHCP; the user's file switches it off.
func TestHostClock(t *testing.T) {
	l := newLAN(t)
	l.startServer()
	l.replaceFile("run/kios/network/ntp", "10.79.0.1\n")
	l.startService("clock")
	l.expectLine(`time from server 10.79.0.1 (DHCP); and from the hypervisor's clock, "a clock that is an hour ahead"`, 10*time.Second)
	l.expectLine("chronyd: Selected source HOST", 60*time.Second)
	l.expectWrongBy(time.Hour, 5*time.Second)
	l.eventually("the server is outvoted", 60*time.Second, func() bool {
		return strings.Contains(l.chronyc("sources"), "^x 10.79.0.1") && strings.Contains(l.chronyc("sources"), "#* HOST")
	})
	l.place("host/etc/kios/time.yaml", []byte("ptp: false\n"), 0o644)
	l.expectLine("time from server 10.79.0.1 (DHCP); not from the hypervisor's clock, as /etc/kios/time.yaml says", 10*time.Second)
	l.eventually("the server alone", 30*time.Second, func() bool {
		out := l.chronyc("sources")
		return strings.Contains(out, "^* 10.79.0.1") && !strings.Contains(out, "HOST")
	})
}

// NTS with a certificate of an authority that the node trusts, valid only in
// years to come: the clock of a machine without a battery is that far behind.
func TestNTS(t *testing.T) {
	l := newLAN(t)
	authority, certificate, key := certificates(t)
	l.place("host/etc/ssl/certs/ca-certificates.crt", authority, 0o644)
	l.place("srv/cert.pem", certificate, 0o644)
	l.place("srv/key.pem", key, 0o600)
	l.place("etc/hosts", []byte("10.79.0.1 time.example\n"), 0o644)
	server := l.startServer("ntsservercert /srv/cert.pem", "ntsserverkey /srv/key.pem", "nocerttimecheck 1000")
	l.shift(server, 100000*time.Hour)
	l.place("host/etc/kios/time.yaml", []byte("servers: [{address: time.example, nts: true}]\n"), 0o644)
	l.startService("plain")
	l.expectLine("time from server time.example (NTS)", 10*time.Second)
	l.expectWrongBy(100000*time.Hour, 60*time.Second)
	if out := l.chronyc("-c", "authdata"); !strings.Contains(out, ",NTS,") {
		t.Errorf("chronyc authdata: %s", out)
	}
	l.service.Stop()
	l.eventually("cookies", 5*time.Second, func() bool {
		kept, _ := filepath.Glob(l.path("var/lib/kios/time/*.nts"))
		return len(kept) == 1
	})
}

// certificates makes an authority and a server's certificate, valid from ten
// years on.
func certificates(t *testing.T) (authority, certificate, key []byte) {
	t.Helper()
	from := time.Now().AddDate(10, 0, 0)
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), from, from.AddDate(10, 0, 0)
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		lab.Must(t, err)
		if parent == nil {
			parent, signer = template, own
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &own.PublicKey, signer)
		lab.Must(t, err)
		c, err := x509.ParseCertificate(der)
		lab.Must(t, err)
		return c, own
	}
	ca, caKey := make(&x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf, leafKey := make(&x509.Certificate{DNSNames: []string{"time.example"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	lab.Must(t, err)
	block := func(kind string, data []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}) }
	return block("CERTIFICATE", ca.Raw), block("CERTIFICATE", leaf.Raw), block("PRIVATE KEY", der)
}
