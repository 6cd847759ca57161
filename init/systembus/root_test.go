//go:build root

package systembus

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/test/lab"
)

// run runs a real client on the bus, as the given user, and returns its output.
// The programs of systemd want to see its directory in /run, or do not try.
func (b *bus) run(uid uint32, argv ...string) (string, error) {
	b.t.Helper()
	script := `mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system && exec setpriv --reuid "$0" --regid "$0" --clear-groups -- "$@"`
	cmd := exec.CommandContext(b.t.Context(), "unshare", append([]string{"--mount", "sh", "-c", script, fmt.Sprint(uid)}, argv...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newOpenBus is below a directory that other users may enter.
func newOpenBus(t *testing.T) *bus {
	t.Helper()
	lab.NeedRoot(t)
	b := newBus(t)
	for dir := filepath.Dir(b.path); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		b.must(os.Chmod(dir, 0o755))
	}
	return b
}

// stranger is a user who is not root.
const stranger = 4711

// TestBusctl asks as a person would, with systemd's own programs.
func TestBusctl(t *testing.T) {
	b := newOpenBus(t)
	const login, manager = "org.freedesktop.login1 /org/freedesktop/login1", "org.freedesktop.login1.Manager"
	for _, tt := range []struct{ command, want string }{
		{"busctl list --no-pager", "org.freedesktop.hostname1"},
		{"busctl list --no-pager --activatable", "org.freedesktop.systemd1"},
		{"busctl tree --no-pager", "/org/freedesktop/systemd1/unit/kubelet_2eservice\n"},
		{"busctl tree --no-pager --list org.freedesktop.login1", "/org/freedesktop/login1\n"},
		{"busctl introspect --no-pager " + login, ".InhibitDelayMaxUSec property  t         86400000000"},
		{"busctl introspect --no-pager org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/containerd_2eservice", ".ActiveState property  s         \"active\""},
		{"busctl introspect --no-pager org.freedesktop.hostname1 /org/freedesktop/hostname1", ".StaticHostname property  s         \"node1\""},
		{"busctl introspect --no-pager org.freedesktop.DBus /org/freedesktop/DBus", ".ListNames method    -         as"},
		{"busctl get-property " + login + " " + manager + " PreparingForShutdown", "b false\n"},
		{"busctl call " + login + " " + manager + " CanPowerOff", "s \"yes\"\n"},
		{"busctl call " + login + " org.freedesktop.DBus.Peer Ping", ""},
		{"busctl call " + login + " " + manager + " ListInhibitors", "a(ssssuu) 0\n"},
		{"busctl status org.freedesktop.login1", "PID=1\n"},
		{"busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager GetUnit s kubelet.service", "o \"/org/freedesktop/systemd1/unit/kubelet_2eservice\"\n"},
		{"loginctl list-sessions --no-pager", "No sessions."},
		{"loginctl show-session --no-pager", "InhibitDelayMaxUSec=1d\n"},
		{"loginctl list-seats --no-pager", "No seats."},
		{"hostnamectl hostname --static", "node1\n"},
		{"hostnamectl status", "Static hostname: node1"},
	} {
		for _, uid := range []uint32{0, stranger} {
			want := tt.want
			if uid != 0 && strings.HasSuffix(tt.command, "CanPowerOff") {
				want = "s \"no\"\n"
			}
			out, err := b.run(uid, strings.Fields(tt.command)...)
			if out = squeeze(out); err != nil || !strings.Contains(out, squeeze(want)) {
				t.Errorf("%s, as user %d: %v, want %q, got\n%s\nthe server logged:\n%s", tt.command, uid, err, want, out, b.log)
			}
		}
	}
}

// squeeze makes one blank of several: columns are as wide as they need to be.
func squeeze(text string) string {
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}

// TestOnlyRootChanges is the same call by root and by somebody else.
func TestOnlyRootChanges(t *testing.T) {
	b := newOpenBus(t)
	for _, command := range []string{
		"busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false",
		"busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RestartUnit ss kubelet.service replace",
		"hostnamectl hostname --static node2",
	} {
		if out, err := b.run(stranger, strings.Fields(command)...); err == nil || !strings.Contains(out, "is for root of the node") && !strings.Contains(out, "Access denied") {
			t.Errorf("%s, as user %d: %v\n%s", command, stranger, err, out)
		}
		if len(b.stops)+len(b.did) > 0 {
			t.Fatalf("%s, as user %d, changed something", command, stranger)
		}
		out, err := b.run(0, strings.Fields(command)...)
		if err != nil {
			t.Errorf("%s, as root: %v\n%s", command, err, out)
		}
		select {
		case <-b.stops:
		case <-b.did:
		case <-time.After(patience):
			t.Errorf("%s, as root, changed nothing", command)
		}
	}
}

// TestRootOfAnotherNamespace is root of a pod with users of its own, whom the
// kernel knows by another number.
func TestRootOfAnotherNamespace(t *testing.T) {
	b := newOpenBus(t)
	cmd := exec.CommandContext(t.Context(), "busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Reboot", "b", "false")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Access denied") || len(b.stops) > 0 {
		t.Errorf("root of another user namespace: %v\n%s", err, out)
	}
}

// TestInhibitor is systemd-inhibit, which holds a lock while a program runs.
func TestInhibitor(t *testing.T) {
	b := newOpenBus(t)
	out, err := b.run(0, "systemd-inhibit", "--what=shutdown", "--mode=delay", "--who=tester", "--why=to see", "systemd-inhibit", "--list", "--no-pager")
	if err != nil || !strings.Contains(out, "tester") || !strings.Contains(out, "to see") || !strings.Contains(out, "delay") {
		t.Errorf("systemd-inhibit: %v\n%s", err, out)
	}
	for _, l := range b.Delays() {
		wait(t, "the end of the lock", l.Released())
	}
}
