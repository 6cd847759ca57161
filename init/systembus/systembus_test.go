package systembus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/login1"
	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"kios/init/dbuswire"
	"kios/test/lab"
)

// patience is for what happens at once.
const patience = 20 * time.Second

// logs collects what a server logs.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, format+"\n", args...)
}

func (l *logs) Warn(format string, args ...any)   { l.add(format, args...) }
func (l *logs) Notice(format string, args ...any) { l.add(format, args...) }
func (l *logs) Info(format string, args ...any)   { l.add(format, args...) }

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// bus is a server whose node does what the test says.
type bus struct {
	*Server
	t     *testing.T
	path  string
	log   *logs
	stops chan string // actions, each with its cause
	did   chan string // other things that clients made the node do
	fail  error       // what RestartUnit and SetStaticHostname return
}

// newBus serves the user who runs the test as it serves root on a node.
func newBus(t *testing.T) *bus {
	t.Helper()
	b := &bus{t: t, path: filepath.Join(t.TempDir(), "run", "bus"), log: &logs{}, stops: make(chan string, 10), did: make(chan string, 10)}
	server, err := Listen(b.path, Host{
		Log:  b.log,
		Stop: func(a Action, cause string) { b.stops <- string(a) + ": " + cause },
		Unit: func(name string) Unit {
			return Unit{"the " + name, "active", "running", os.Getpid(), 3}
		},
		RestartUnit:       func(name, cause string) error { b.did <- "restart " + name; return b.fail },
		StaticHostname:    func() string { return "node1" },
		SetStaticHostname: func(name, cause string) error { b.did <- "static name " + name; return b.fail },
		SetHostname:       func(name, cause string) error { b.did <- "name " + name; return nil },
	})
	lab.Must(t, err)
	server.root = uint32(os.Getuid())
	b.Server = server
	go server.Run()
	t.Cleanup(func() { server.Close() })
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+b.path) // for go-systemd
	return b
}

func (b *bus) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("%v; the server logged:\n%s", err, b.log)
	}
}

// connect returns a connection of godbus.
func (b *bus) connect() *dbus.Conn {
	b.t.Helper()
	c, err := dbus.Connect("unix:path=" + b.path)
	b.must(err)
	b.t.Cleanup(func() { c.Close() })
	b.must(c.BusObject().Call(driverName+".GetId", 0).Err) // NameAcquired comes before this answer
	return c
}

// wait returns what comes out of a channel.
func wait[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen within %v", what, patience)
		panic("not reached")
	}
}

// faultName returns the name of a D-Bus error.
func faultName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return fmt.Sprint(err)
}

// TestKubelet does what the kubelet does, and in the same order; see
// k8s.io/kubernetes/pkg/kubelet/nodeshutdown/systemd.
func TestKubelet(t *testing.T) {
	b := newBus(t)
	c := b.connect()
	o := c.Object("org.freedesktop.login1", "/org/freedesktop/login1")
	delay, err := o.GetProperty("org.freedesktop.login1.Manager.InhibitDelayMaxUSec")
	b.must(err)
	if got := time.Duration(delay.Value().(uint64)) * time.Microsecond; got != 24*time.Hour {
		t.Errorf("InhibitDelayMaxUSec = %v, want a day", got)
	}
	var fd dbus.UnixFD
	b.must(o.Call("org.freedesktop.login1.Manager.Inhibit", 0, "shutdown", "kubelet", "Kubelet needs time", "delay").Store(&fd))
	b.must(c.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.login1.Manager"),
		dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath("/org/freedesktop/login1")))
	signals := make(chan *dbus.Signal, 10)
	c.Signal(signals)

	b.PrepareForShutdown(PowerOff)
	s := wait(t, "PrepareForShutdown", signals)
	if diff := cmp.Diff([]any{true}, s.Body); s.Name != "org.freedesktop.login1.Manager.PrepareForShutdown" || diff != "" {
		t.Errorf("signal = %+v", s)
	}
	locks := b.Delays()
	if len(locks) != 1 || locks[0].Who != "kubelet" || locks[0].PID != uint32(os.Getpid()) {
		t.Fatalf("locks = %v", locks)
	}
	select {
	case <-locks[0].Released():
		t.Fatal("the lock is released, but its file is open")
	default:
	}
	b.must(os.NewFile(uintptr(fd), "lock").Close())
	wait(t, "the release of the lock", locks[0].Released())
	if left := b.Delays(); len(left) != 0 || locks[0].Ended().Before(locks[0].taken) {
		t.Errorf("locks that are left: %v", left)
	}
	err = o.Call("org.freedesktop.login1.Manager.Inhibit", 0, "shutdown", "late", "", "delay").Err
	if got := faultName(err); got != inProgress {
		t.Errorf("a lock while stopping: %v, want %s", err, inProgress)
	}
}

// TestLogin1 is go-systemd's client, which reboot agents use.
func TestLogin1(t *testing.T) {
	b := newBus(t)
	c, err := login1.New()
	b.must(err)
	defer c.Close()
	lock, err := c.Inhibit("shutdown:sleep", "agent", "drains\nthe node", "delay")
	b.must(err)
	defer lock.Close()
	signals := c.Subscribe("PrepareForShutdown")
	if sessions, err := c.ListSessionsContext(t.Context()); err != nil || len(sessions) != 0 {
		t.Errorf("ListSessions = %v, %v", sessions, err)
	}
	c.Reboot(false)
	if got := wait(t, "the reboot", b.stops); !strings.HasPrefix(got, "reboot: process ") || !strings.Contains(got, fmt.Sprintf("of user %d", os.Getuid())) {
		t.Errorf("stop = %q", got)
	}
	b.PrepareForShutdown(Reboot)
	wait(t, "PrepareForShutdown", signals)
	if got := b.Delays()[0].String(); got != fmt.Sprintf("agent (process %d): drainsthe node", os.Getpid()) {
		t.Errorf("lock = %q", got)
	}
}

func TestStopOnce(t *testing.T) {
	b := newBus(t)
	o := b.connect().Object(loginName, dbus.ObjectPath(loginPath))
	var fd dbus.UnixFD
	b.must(o.Call(loginManager+".Inhibit", 0, "shutdown", "installer", "writes firmware", "block").Store(&fd))
	for _, member := range []string{"PowerOff", "Reboot", "Halt"} {
		if err := o.Call(loginManager+"."+member, 0, false).Err; faultName(err) != blocked || !strings.Contains(err.Error(), "writes firmware") {
			t.Errorf("%s with a lock of the mode block: %v", member, err)
		}
	}
	b.must(o.Call(loginManager+".HaltWithFlags", 0, skipInhibitors).Err)
	if got := wait(t, "the halt", b.stops); !strings.HasPrefix(got, "halt: ") {
		t.Errorf("stop = %q", got)
	}
	if err := o.Call(loginManager+".PowerOffWithFlags", 0, skipInhibitors).Err; faultName(err) != inProgress {
		t.Errorf("a second request: %v, want %s", err, inProgress)
	}
}

func TestSchedule(t *testing.T) {
	b := newBus(t)
	o := b.connect().Object(loginName, dbus.ObjectPath(loginPath))
	at := uint64(time.Now().Add(time.Hour).UnixMicro())
	b.must(o.Call(loginManager+".ScheduleShutdown", 0, "reboot", at).Err)
	v, err := o.GetProperty(loginManager + ".ScheduledShutdown")
	b.must(err)
	if diff := cmp.Diff([]any{"reboot", at}, v.Value()); diff != "" {
		t.Errorf("ScheduledShutdown (-want +got):\n%s", diff)
	}
	for _, want := range []bool{true, false} {
		var was bool
		b.must(o.Call(loginManager+".CancelScheduledShutdown", 0).Store(&was))
		if was != want {
			t.Errorf("CancelScheduledShutdown = %v, want %v", was, want)
		}
	}
	if err := o.Call(loginManager+".ScheduleShutdown", 0, "kexec", at).Err; faultName(err) != notSupported {
		t.Errorf("kexec: %v", err)
	}
	if err := o.Call(loginManager+".ScheduleShutdown", 0, "halt", uint64(1)<<63).Err; faultName(err) != invalidArgs {
		t.Errorf("in 292,000 years: %v", err)
	}
	b.must(o.Call(loginManager+".ScheduleShutdown", 0, "poweroff", uint64(time.Now().Add(50*time.Millisecond).UnixMicro())).Err)
	if got := wait(t, "the planned stop", b.stops); !strings.HasPrefix(got, "poweroff: the plan of process") {
		t.Errorf("stop = %q", got)
	}
}

// TestSystemd is go-systemd's other client.
func TestSystemd(t *testing.T) {
	b := newBus(t)
	ctx := t.Context()
	c, err := systemd.NewSystemConnectionContext(ctx)
	b.must(err)
	defer c.Close()
	b.must(c.Subscribe())
	list, err := c.ListUnitsContext(ctx)
	b.must(err)
	if len(list) != 2 || list[1].Name != Kubelet || list[1].ActiveState != "active" || list[1].Description != "the kubelet.service" {
		t.Errorf("ListUnits = %+v", list)
	}
	list, err = c.ListUnitsByNamesContext(ctx, []string{Containerd, "x.service"})
	b.must(err)
	if len(list) != 1 || list[0].Name != Containerd {
		t.Errorf("ListUnitsByNames = %+v", list)
	}
	list, err = c.ListUnitsByPatternsContext(ctx, []string{"active"}, []string{"kube*"})
	b.must(err)
	if len(list) != 1 || list[0].Name != Kubelet {
		t.Errorf("ListUnitsByPatterns = %+v", list)
	}
	p, err := c.GetUnitPropertyContext(ctx, Kubelet, "SubState")
	b.must(err)
	if got := p.Value.Value(); got != "running" {
		t.Errorf("SubState = %v", got)
	}
	p, err = c.GetServicePropertyContext(ctx, Kubelet, "MainPID")
	b.must(err)
	if got := p.Value.Value(); got != uint32(os.Getpid()) {
		t.Errorf("MainPID = %v", got)
	}
	all, err := c.GetUnitPropertiesContext(ctx, Containerd)
	b.must(err)
	if all["Id"] != Containerd || all["LoadState"] != "loaded" {
		t.Errorf("properties = %v", all)
	}
	if name, err := c.GetUnitNameByPID(ctx, uint32(os.Getpid())); err != nil || name != Containerd {
		t.Errorf("the unit of a process = %q, %v", name, err)
	}
	if err := c.KillUnitWithTarget(ctx, "systemd-logind.service", systemd.All, 1); err != nil {
		t.Errorf("KillUnit of logind: %v", err)
	}
	if err := c.KillUnitWithTarget(ctx, Kubelet, systemd.All, 1); faultName(err) != notSupported {
		t.Errorf("KillUnit of the kubelet: %v", err)
	}
	if _, err := c.StopUnitContext(ctx, Kubelet, "replace", nil); faultName(err) != notSupported {
		t.Errorf("StopUnit: %v", err)
	}
	if _, err := c.RestartUnitContext(ctx, "sshd.service", "replace", nil); faultName(err) != noSuchUnit {
		t.Errorf("RestartUnit of what is not there: %v", err)
	}
}

func TestRestartUnit(t *testing.T) {
	for want, fail := range map[string]error{"done": nil, "failed": errors.New("it hangs")} {
		b := newBus(t)
		b.fail = fail
		c, err := systemd.NewSystemConnectionContext(t.Context())
		b.must(err)
		result := make(chan string, 1)
		_, err = c.RestartUnitContext(t.Context(), Kubelet, "replace", result)
		b.must(err)
		if got := wait(t, "the restart", b.did); got != "restart kubelet.service" {
			t.Errorf("the node did %q", got)
		}
		if got := wait(t, "the end of the job", result); got != want {
			t.Errorf("result = %q, want %q", got, want)
		}
		c.Close()
	}
}

// A panic in a restart, which no client waits for, ends the job and not PID 1.
func TestPanicInAJob(t *testing.T) {
	b := newBus(t)
	b.host.RestartUnit = func(string, string) error { panic("of the restart") }
	c, err := systemd.NewSystemConnectionContext(t.Context())
	b.must(err)
	defer c.Close()
	for range 2 { // the second one finds no job that is still running
		result := make(chan string, 1)
		_, err = c.RestartUnitContext(t.Context(), Kubelet, "replace", result)
		b.must(err)
		if got := wait(t, "the end of the job", result); got != "failed" {
			t.Errorf("result = %q, want failed", got)
		}
	}
	if !strings.Contains(b.log.String(), "panic: of the restart") {
		t.Errorf("the server logged %q, want the panic", b.log)
	}
}

func TestHostname(t *testing.T) {
	b := newBus(t)
	o := b.connect().Object(hostnameName, "/org/freedesktop/hostname1")
	b.must(o.Call(hostnameName+".SetStaticHostname", 0, "node2", false).Err)
	b.must(o.Call(hostnameName+".SetHostname", 0, "node3", false).Err)
	for _, want := range []string{"static name node2", "name node3"} {
		if got := wait(t, "a change", b.did); got != want {
			t.Errorf("the node did %q, want %q", got, want)
		}
	}
	b.fail = errors.New("a cluster knows the node")
	if err := o.Call(hostnameName+".SetStaticHostname", 0, "node2", false).Err; faultName(err) != failed || !strings.Contains(err.Error(), "a cluster knows") {
		t.Errorf("a refused name: %v", err)
	}
	v, err := o.GetProperty(hostnameName + ".StaticHostname")
	b.must(err)
	if v.Value() != "node1" {
		t.Errorf("StaticHostname = %v", v)
	}
	var all map[string]dbus.Variant
	b.must(o.Call("org.freedesktop.DBus.Properties.GetAll", 0, hostnameName).Store(&all))
	if all["KernelName"].Value() != "Linux" || len(all["BootID"].Value().([]byte)) != 16 {
		t.Errorf("properties = %v", all)
	}
}

// TestStranger is a user who is not root: it may read.
func TestStranger(t *testing.T) {
	b := newBus(t)
	b.root = uint32(os.Getuid()) + 1
	c := b.connect()
	for _, call := range []struct {
		service, path, method string
		args                  []any
	}{
		{loginName, "/org/freedesktop/login1", loginManager + ".Inhibit", []any{"shutdown", "a", "b", "delay"}},
		{loginName, "/org/freedesktop/login1", loginManager + ".Inhibit", []any{"wrong types come second"}},
		{loginName, "/org/freedesktop/login1", loginManager + ".Reboot", []any{false}},
		{loginName, "/org/freedesktop/login1", loginManager + ".PowerOffWithFlags", []any{uint64(16)}},
		{loginName, "/org/freedesktop/login1", loginManager + ".ScheduleShutdown", []any{"halt", uint64(1)}},
		{loginName, "/org/freedesktop/login1", loginManager + ".CancelScheduledShutdown", nil},
		{systemdName, "/org/freedesktop/systemd1", systemdManager + ".RestartUnit", []any{Kubelet, "replace"}},
		{systemdName, "/org/freedesktop/systemd1/unit/kubelet_2eservice", "org.freedesktop.systemd1.Unit.Restart", []any{"replace"}},
		{hostnameName, "/org/freedesktop/hostname1", hostnameName + ".SetStaticHostname", []any{"x", false}},
		{driverName, "/org/freedesktop/DBus", driverName + ".RequestName", []any{"org.freedesktop.login1", uint32(0)}},
	} {
		err := c.Object(call.service, dbus.ObjectPath(call.path)).Call(call.method, 0, call.args...).Err
		if got := faultName(err); got != accessDenied {
			t.Errorf("%s: %v, want %s", call.method, err, accessDenied)
		}
	}
	if len(b.stops)+len(b.did) > 0 || len(b.login.locks) > 0 {
		t.Error("a stranger has changed something")
	}
	o := c.Object(loginName, dbus.ObjectPath(loginPath))
	if _, err := o.GetProperty(loginManager + ".DelayInhibited"); err != nil {
		t.Errorf("a stranger may not read: %v", err)
	}
	var can string
	if err := o.Call(loginManager+".CanReboot", 0).Store(&can); err != nil || can != "no" {
		t.Errorf("CanReboot = %q, %v, want no", can, err)
	}
}

// TestOnlyReading holds that what is not marked as root's only reads.
func TestOnlyReading(t *testing.T) {
	b := newBus(t)
	reads := strings.Fields(`Hello AddMatch RemoveMatch RequestName ReleaseName StartServiceByName NameHasOwner ListQueuedOwners
		Subscribe Unsubscribe LoadUnit`)
	for _, v := range b.services {
		for _, o := range v.objects {
			for _, i := range o.interfaces {
				for _, m := range i.methods {
					harmless := strings.HasPrefix(m.name, "Get") || strings.HasPrefix(m.name, "List") || strings.HasPrefix(m.name, "Can") && !strings.HasPrefix(m.name, "Cancel")
					for _, r := range reads {
						harmless = harmless || m.name == r
					}
					if m.root == harmless {
						t.Errorf("%s.%s: root is %v", i.name, m.name, m.root)
					}
				}
			}
		}
	}
}

func TestDriver(t *testing.T) {
	b := newBus(t)
	c, other := b.connect(), b.connect()
	o := c.BusObject()
	var name, owner, id string
	var names []string
	var yes bool
	var uid, pid, code uint32
	b.must(o.Call(driverName+".ListNames", 0).Store(&names))
	for _, want := range []string{driverName, loginName, systemdName, hostnameName, c.Names()[0], other.Names()[0]} {
		if !strings.Contains(strings.Join(names, " ")+" ", want+" ") {
			t.Errorf("ListNames = %v lacks %s", names, want)
		}
	}
	name = c.Names()[0]
	b.must(o.Call(driverName+".GetNameOwner", 0, loginName).Store(&owner))
	b.must(o.Call(driverName+".NameHasOwner", 0, owner).Store(&yes))
	b.must(o.Call(driverName+".GetConnectionUnixUser", 0, name).Store(&uid))
	b.must(o.Call(driverName+".GetConnectionUnixProcessID", 0, name).Store(&pid))
	b.must(o.Call(driverName+".StartServiceByName", 0, loginName, uint32(0)).Store(&code))
	b.must(o.Call(driverName+".GetId", 0).Store(&id))
	if !strings.HasPrefix(owner, ":") || !yes || uid != uint32(os.Getuid()) || pid != uint32(os.Getpid()) || code != 2 || len(id) != 32 {
		t.Errorf("owner %q, has owner %v, user %d, process %d, start %d, id %q", owner, yes, uid, pid, code, id)
	}
	for method, want := range map[string]string{
		"GetNameOwner": noOwner, "GetConnectionUnixUser": noOwner, "GetConnectionCredentials": noOwner,
		"RemoveMatch": matchNotFound, "AddMatch": matchInvalid, "Nonsense": unknownMethod,
	} {
		if err := o.Call(driverName+"."+method, 0, "org.example.Nobody").Err; faultName(err) != want {
			t.Errorf("%s: %v, want %s", method, err, want)
		}
	}
	if err := o.Call(driverName+".Hello", 0).Err; faultName(err) != failed {
		t.Errorf("a second Hello: %v", err)
	}
	if err := c.Object(other.Names()[0], "/").Call("org.example.Talk", 0).Err; faultName(err) != accessDenied {
		t.Errorf("a message to another client: %v", err)
	}
	for _, tt := range []struct{ to, path, method, want string }{
		{"org.example.Nobody", "/", "a.b.C", serviceUnknown},
		{loginName, "/nowhere", "a.b.C", unknownObject},
		{loginName, "/org/freedesktop/login1", "a.b.C", unknownInterface},
		{loginName, "/org/freedesktop/login1", loginManager + ".Levitate", unknownMethod},
		{loginName, "/org/freedesktop/login1", loginManager + ".ListInhibitors", invalidArgs},
	} {
		if err := c.Object(tt.to, dbus.ObjectPath(tt.path)).Call(tt.method, 0, "x").Err; faultName(err) != tt.want {
			t.Errorf("%s of %s at %s: %v, want %s", tt.method, tt.to, tt.path, err, tt.want)
		}
	}
	for _, v := range b.services {
		b.must(c.Object(v.name, "/").Call("org.freedesktop.DBus.Peer.Ping", 0).Err)
	}
	if err := c.Object(loginName, dbus.ObjectPath(loginPath)).SetProperty(loginManager+".Docked", dbus.MakeVariant(true)); faultName(err) != readOnly {
		t.Errorf("set a property: %v", err)
	}
}

// TestSignals demands that only those who asked get signals, and that
// NameOwnerChanged tells of clients that come and go.
func TestSignals(t *testing.T) {
	b := newBus(t)
	c, deaf := b.connect(), b.connect()
	got, heard := make(chan *dbus.Signal, 10), make(chan *dbus.Signal, 10)
	c.Signal(got)
	deaf.Signal(heard)
	third := b.connect()
	name := third.Names()[0]
	b.must(c.AddMatchSignal(dbus.WithMatchSender(driverName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)))
	fourth := b.connect()
	fourth.Close()
	third.Close()
	s := wait(t, "NameOwnerChanged", got)
	if diff := cmp.Diff([]any{name, name, ""}, s.Body); diff != "" {
		t.Errorf("NameOwnerChanged (-want +got):\n%s", diff)
	}
	b.must(c.RemoveMatchSignal(dbus.WithMatchSender(driverName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)))
	b.PrepareForShutdown(PowerOff)
	for _, x := range []*dbus.Conn{c, deaf} { // signals come before this answer
		b.must(x.BusObject().Call(driverName+".GetId", 0).Err)
	}
	if len(got)+len(heard) > 0 {
		t.Errorf("signals that nobody asked for: %v %v", got, heard)
	}
}

func TestInhibitArguments(t *testing.T) {
	b := newBus(t)
	o := b.connect().Object(loginName, dbus.ObjectPath(loginPath))
	for _, args := range [][]any{
		{"", "a", "b", "delay"}, {"shutdown:", "a", "b", "delay"}, {"lunch", "a", "b", "delay"}, {"shutdown", "a", "b", ""},
		{"shutdown", "a", "b", "hold"}, {"idle", "a", "b", "delay"}, {"shutdown:idle", "a", "b", "delay"}, {"shutdown"},
	} {
		if err := o.Call(loginManager+".Inhibit", 0, args...).Err; faultName(err) != invalidArgs {
			t.Errorf("Inhibit(%q): %v, want %s", args, err, invalidArgs)
		}
	}
	for range maxLocks {
		var fd dbus.UnixFD
		b.must(o.Call(loginManager+".Inhibit", 0, "idle:shutdown", "a", "b", "block").Store(&fd))
		t.Cleanup(func() { os.NewFile(uintptr(fd), "").Close() })
	}
	if err := o.Call(loginManager+".Inhibit", 0, "idle", "a", "b", "block").Err; faultName(err) != limitsExceeded {
		t.Errorf("one lock too many: %v", err)
	}
	v, err := o.GetProperty(loginManager + ".BlockInhibited")
	b.must(err)
	if v.Value() != "shutdown:idle" {
		t.Errorf("BlockInhibited = %v", v)
	}
}

// TestLockEndsWithItsHolder demands that the node keeps no copy of the file
// that was given away.
func TestLockEndsWithItsHolder(t *testing.T) {
	b := newBus(t)
	c := b.connect()
	err := c.Object(loginName, dbus.ObjectPath(loginPath)).Call(loginManager+".Inhibit", dbus.FlagNoReplyExpected, "shutdown", "a", "b", "delay").Err
	b.must(err)
	b.must(c.BusObject().Call(driverName+".GetId", 0).Err) // the call is through
	for _, l := range b.Delays() {
		wait(t, "the release of a lock that was never given", l.Released())
	}
}

// talk sends text to the bus and returns all that it answers until it ends the
// connection, or the text is used up.
func (b *bus) talk(text string) string {
	b.t.Helper()
	c, err := net.Dial("unix", b.path)
	b.must(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	c.(*net.UnixConn).CloseWrite()
	answer, _ := io.ReadAll(c) // a reset tells nothing
	return string(answer)
}

func TestAuthentication(t *testing.T) {
	b := newBus(t)
	me := fmt.Sprintf("%x", fmt.Sprint(os.Getuid()))
	other := fmt.Sprintf("%x", fmt.Sprint(os.Getuid()+1))
	ok := "OK " + b.id + "\r\n"
	const no = "REJECTED EXTERNAL\r\n"
	for _, tt := range []struct{ say, want string }{
		{"\x00AUTH EXTERNAL " + me + "\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", ok + "AGREE_UNIX_FD\r\n"},
		{"\x00AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", "DATA\r\n" + ok + "AGREE_UNIX_FD\r\n"},
		{"\x00AUTH EXTERNAL\r\nDATA " + me + "\r\nBEGIN\r\n", "DATA\r\n" + ok},
		{"\x00AUTH\r\nAUTH EXTERNAL " + me + "\r\n", no + ok},
		{"\x00AUTH ANONYMOUS\r\n", no},
		{"\x00AUTH DBUS_COOKIE_SHA1 " + me + "\r\n", no},
		{"\x00AUTH EXTERNAL " + other + "\r\n", no},
		{"\x00AUTH EXTERNAL zz\r\n", no},
		{"\x00AUTH EXTERNAL " + me + "\r\nCANCEL\r\nBEGIN\r\n", ok + no},
		{"\x00AUTH EXTERNAL " + me + "\r\nERROR\r\nNEGOTIATE_UNIX_FD\r\n", ok + no + "ERROR authenticate first\r\n"},
		{"\x00NEGOTIATE_UNIX_FD\r\n", "ERROR authenticate first\r\n"},
		{"\x00DATA " + me + "\r\n", "ERROR there was no question\r\n"},
		{"\x00HELO\r\n", "ERROR the command is not known\r\n"},
		{"\x00BEGIN\r\n", ""},
		{"AUTH EXTERNAL " + me + "\r\n", ""},
		{"\x00" + strings.Repeat("x", 2*maxAuthLine), ""},
		{"\x00" + strings.Repeat("X\r\n", 100), strings.Repeat("ERROR the command is not known\r\n", maxAuthLines)},
		{"", ""},
	} {
		if got := b.talk(tt.say); got != tt.want {
			t.Errorf("%.80q is answered with %q, want %q", tt.say, got, tt.want)
		}
	}
	for _, junk := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x00", 100), strings.Repeat("\xff", 1<<17), "l\x01\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff"} {
		b.talk("\x00AUTH EXTERNAL " + me + "\r\nBEGIN\r\n" + junk)
	}
	b.connect() // it still works
}

// TestRoom demands that one user cannot take the places of others, and that a
// place is free again when its client has left.
func TestRoom(t *testing.T) {
	b := newBus(t)
	s := b.Server
	const stranger = 4711
	for range maxOfOneStranger {
		b.must(s.admit(stranger))
	}
	if err := s.admit(stranger); err == nil {
		t.Error("a stranger has no limit")
	}
	for uid := uint32(5000); s.admit(uid) == nil; uid++ {
	}
	for range maxClients - maxStrangers {
		if err := s.admit(0); err != nil {
			t.Errorf("root finds no room: %v", err)
		}
	}
	if err := s.admit(0); err == nil {
		t.Error("there is no limit")
	}
	s.leave(&client{server: s, uid: stranger})
	b.must(s.admit(stranger))
}

// TestDoesNotRead demands that a client that does not read its signals is left,
// and nobody waits for it.
func TestDoesNotRead(t *testing.T) {
	b := newBus(t)
	c, err := net.Dial("unix", b.path)
	b.must(err)
	defer c.Close()
	fmt.Fprintf(c, "\x00AUTH EXTERNAL %x\r\nBEGIN\r\n", fmt.Sprint(os.Getuid()))
	line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	b.must(err)
	if !strings.HasPrefix(line, "OK ") {
		t.Fatalf("answer = %q", line)
	}
	for i, m := range []dbuswire.Message{{Member: "Hello"}, {Member: "AddMatch", Signature: "s", Body: []any{"type='signal'"}}} {
		m.Type, m.Serial, m.Destination, m.Path, m.Interface = dbuswire.Call, uint32(i+1), driverName, driverPath, driverName
		text, err := m.Encode()
		b.must(err)
		_, err = c.Write(text)
		b.must(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v := b.service(loginName)
	for len(b.names()) > 7 || !strings.Contains(b.log.String(), "does not read its signals") {
		b.emit(v, loginPath, loginManager, "SessionNew", "so", strings.Repeat("x", 1000), loginPath)
		if ctx.Err() != nil {
			t.Fatalf("after %v the client is still there: %v\n%s", patience, b.names(), b.log)
		}
	}
}

func TestMatchRules(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "type='signal'": true, "type='error'": false, "type=signal": true, "type='party'": false,
		"type='signal',sender='org.freedesktop.login1'": true, "sender=':1.0'": true, "sender='org.freedesktop.systemd1'": false,
		"path='/org/freedesktop/login1',member='PrepareForShutdown'": true, "path='/org'": false,
		"path_namespace='/org/freedesktop'": true, "path_namespace='/'": true, "path_namespace='/org/free'": false,
		"arg0='a.b'": true, "arg0='a'": false, "arg1='a.b'": false, "arg0namespace='a'": true, "arg0path='a.b'": true, "arg2='x'": false,
		"member='Prepare": false, "interface": false, "argx='y'": false, "arg64='y'": false, "arg1namespace='y'": false, "colour='red'": false,
		"destination=':1.9'": false, "eavesdrop='true'": true, " type = 'signal' , member=PrepareForShutdown,": false,
		`member='Prepare'For'Shutdown'`: true, `member=Don\'t`: false,
	} {
		r, err := parseRule(text)
		v := &service{name: loginName, unique: ":1.0"}
		m := &dbuswire.Message{
			Type: dbuswire.Signal, Path: loginPath, Interface: loginManager, Member: "PrepareForShutdown", Body: []any{"a.b", true},
		}
		if got := err == nil && r.matches(m, v); got != want {
			t.Errorf("%s matches: %v (%v), want %v", text, got, err, want)
		}
	}
	if _, err := parseRule("member='" + strings.Repeat("x", maxRule) + "'"); err == nil {
		t.Error("a rule may have any length")
	}
}

// The log names the program that asked, also when another one has its number by now.
func TestClientIsNamedAtOnce(t *testing.T) {
	c := &client{pid: int32(os.Getpid()), comm: "busctl", uid: 5}
	if got, want := c.String(), fmt.Sprintf("process %d (busctl) of user 5", os.Getpid()); got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got := programOf(int32(os.Getpid())); got == "" || len(got) > 20 {
		t.Errorf("programOf = %q", got)
	}
}

// Clients who have a file of a disk read that hangs wait without a thread of PID 1.
func TestReadersAreBounded(t *testing.T) {
	b := newBus(t)
	reading, release := make(chan struct{}, 2*maxReaders), make(chan struct{})
	b.host.StaticHostname = func() string {
		reading <- struct{}{}
		<-release
		return "node1"
	}
	var answers sync.WaitGroup
	for range 2 * maxReaders {
		o := b.connect().Object(hostnameName, "/org/freedesktop/hostname1")
		answers.Go(func() {
			if v, err := o.GetProperty(hostnameName + ".StaticHostname"); err != nil || v.Value() != "node1" {
				t.Errorf("StaticHostname = %v, %v", v, err)
			}
		})
	}
	for range maxReaders {
		wait(t, "a read", reading)
	}
	b.connect() // others are served, and all calls have come by now
	select {
	case <-reading:
		t.Errorf("more than %d clients read at the same time", maxReaders)
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	answers.Wait()
}

// Programs look for systemd's names.
func TestArchitecture(t *testing.T) {
	for goarch, want := range map[string]string{"amd64": "x86-64", "arm64": "arm64"} {
		if got := architecture(goarch); got != want {
			t.Errorf("architecture(%s) = %s, want %s", goarch, got, want)
		}
	}
}
