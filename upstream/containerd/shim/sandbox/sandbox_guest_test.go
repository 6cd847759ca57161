//go:build guest

package sandbox

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// pause is a program that only waits, for ever: an ELF header, one segment, and the code
// of its processor. A Go program would look for /dev/null.
func pause() []byte {
	const base, size = 0x400000, 64 + 56
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	for _, field := range []any{
		// e_type to e_shstrndx, see elf(5)
		uint16(elf.ET_EXEC), uint16(pauseMachine), uint32(1), uint64(base + size), uint64(64), uint64(0),
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		// p_type to p_align
		uint32(elf.PT_LOAD), uint32(elf.PF_R | elf.PF_X), uint64(0), uint64(base), uint64(base),
		uint64(size + len(pauseCode)), uint64(size + len(pauseCode)), uint64(0x1000),
	} {
		binary.Write(&b, binary.LittleEndian, field)
	}
	b.WriteString(pauseCode)
	return b.Bytes()
}

// bundle makes a bundle whose image is that program.
func bundle(t *testing.T, s *specs.Spec) string {
	t.Helper()
	dir := writeBundle(t, s)
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "pause"), pause(), 0o555); err != nil {
		t.Fatal(err)
	}
	return dir
}

func network(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// cgroups gives the test's pod a place, and all there is under it an end.
func cgroups(t *testing.T, s *specs.Spec) (path string) {
	t.Helper()
	s.Linux.CgroupsPath = "/" + t.Name() + "/sandbox"
	t.Cleanup(func() { os.Remove(filepath.Join(cgroupRoot, t.Name())) })
	return filepath.Join(cgroupRoot, s.Linux.CgroupsPath)
}

func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

func namespace(t *testing.T, pid any, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%v/ns/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestStart(t *testing.T) {
	// As the shim's socket, which it got without close-on-exec.
	inherited, err := unix.Open("/", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	s := pod()
	cgroup := cgroups(t, s)
	s.Linux.Namespaces[4].Path = network(t)
	box, err := Start(s, bundle(t, s))
	if err != nil {
		t.Fatal(err)
	}

	st := status(t, box.Pid)
	got := map[string]string{}
	for _, name := range []string{"Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"} {
		got[name] = st[name]
	}
	none := "0000000000000000"
	want := map[string]string{
		"Uid": "65535 65535 65535 65535", "Gid": "65535 65535 65535 65535", "Groups": "",
		"CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the process (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(st["NSpid"], " 1") {
		t.Errorf("NSpid = %s, want it to be process 1 of its namespace", st["NSpid"])
	}
	for _, kind := range []string{"ipc", "mnt", "net", "pid", "uts"} {
		if namespace(t, box.Pid, kind) == namespace(t, "self", kind) {
			t.Errorf("the process shares our %s namespace", kind)
		}
	}
	checkFiles(t, box.Pid, cgroup)
	checkNamespaces(t, box.Pid)
	if pids, err := box.Processes(); err != nil || !slices.Equal(pids, []int{box.Pid}) {
		t.Errorf("Processes = %v, %v, want %d", pids, err, box.Pid)
	}
	end(t, box)
	if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
		t.Errorf("the cgroup: %v, want it to be gone", err)
	}
}

func checkFiles(t *testing.T, pid int, cgroup string) {
	t.Helper()
	for file, want := range map[string]string{
		"cgroup":        "0::" + strings.TrimPrefix(cgroup, cgroupRoot),
		"oom_score_adj": "-998",
	} {
		got, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s = %q, %v, want %q", file, got, err, want)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil || strings.Count(string(mounts), "\n") != 1 || !strings.Contains(string(mounts), " / ro,nosuid,nodev") {
		t.Errorf("mounts = %v\n%s\nwant one: the root, ro,nosuid,nodev", err, mounts)
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err != nil || len(files) > 0 {
		t.Errorf("open files: %v, %v, want none", files, err)
	}
	// As seen by somebody who gets at the process: no way up and out.
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/..", pid))
	if err != nil || len(entries) != 1 || entries[0].Name() != "pause" {
		t.Errorf("above the root: %v, %v, want the root with the program", entries, err)
	}
}

// checkNamespaces looks from inside, as a container that joins them would.
func checkNamespaces(t *testing.T, pid int) {
	t.Helper()
	var name, port string
	err := onThread(func() error {
		for _, kind := range []string{"uts", "net"} {
			if err := join(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), 0); err != nil {
				return err
			}
		}
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			return err
		}
		name = unix.ByteSliceToString(uts.Nodename[:])
		text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		port = strings.TrimSpace(string(text))
		return err
	})
	if err != nil || name != "pod-name" || port != "0" {
		t.Errorf("host name %q, ports from %q, %v, want pod-name, 0", name, port, err)
	}
	if host, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil || string(host) != "1024\n" {
		t.Errorf("the host's sysctl is %q (%v), want 1024", host, err)
	}
}

// end kills the process, waits for it and removes it.
func end(t *testing.T, box *Sandbox) {
	t.Helper()
	if err := box.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(box.Pid, &ws, 0, nil); err != nil || ws.Signal() != syscall.SIGKILL {
		t.Errorf("wait = %v, %v, want killed", ws, err)
	}
	if err := box.Signal(syscall.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal after the end: %v, want ESRCH", err)
	}
	if err := box.Remove(); err != nil {
		t.Error(err)
	}
}

func TestStartOnTheHostsNamespaces(t *testing.T) {
	s := pod()
	cgroups(t, s)
	s.Linux.Namespaces, s.Linux.Sysctl = []specs.LinuxNamespace{{Type: specs.MountNamespace}}, nil
	box, err := Start(s, bundle(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ipc", "net", "pid", "uts"} {
		if namespace(t, box.Pid, kind) != namespace(t, "self", kind) {
			t.Errorf("the process has a %s namespace of its own", kind)
		}
	}
	if name, err := os.Hostname(); err != nil || name == "pod-name" {
		t.Errorf("the host's name is %q (%v)", name, err)
	}
	end(t, box)
}

func TestStartLeavesNothingWhenItFails(t *testing.T) {
	s := pod()
	cgroup := cgroups(t, s)
	s.Linux.Namespaces[4].Path = network(t)
	before := namespace(t, "self", "mnt")
	if box, err := Start(s, t.TempDir()); err == nil { // no root file system
		t.Fatalf("Start = %+v without a root file system", box)
	}
	if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
		t.Errorf("the cgroup: %v, want it to be gone", err)
	}
	if after := namespace(t, "self", "mnt"); after != before {
		t.Errorf("our mount namespace is %s, was %s", after, before)
	}
}

func TestCleanEndsWhatADeadShimLeft(t *testing.T) {
	s := pod()
	cgroup := cgroups(t, s)
	s.Linux.Namespaces[4].Path = network(t)
	dir := bundle(t, s)
	text, err := json.Marshal(s) // with the cgroup and the network
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	box, err := Start(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	// Init reaps in the place of the shim.
	reaped := make(chan error, 1)
	go func() {
		_, err := syscall.Wait4(box.Pid, nil, 0, nil)
		reaped <- err
	}()
	if err := Clean(dir); err != nil {
		t.Error(err)
	}
	select {
	case err := <-reaped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the process lives")
	}
	if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
		t.Errorf("the cgroup: %v, want it to be gone", err)
	}
}
