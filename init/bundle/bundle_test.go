package bundle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

const configText = `{"annotations":{"io.kubernetes.cri.container-type":%q,"io.kubernetes.cri.sandbox-namespace":"default",
"io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.container-name":"app"},"linux":{"cgroupsPath":%q}}`

func writeBundle(t *testing.T, dir, id, pid, config string) {
	t.Helper()
	path := filepath.Join(dir, id)
	lab.Must(t, os.MkdirAll(path, 0o755))
	for name, text := range map[string]string{"init.pid": pid, "config.json": config} {
		if text == "" {
			continue
		}
		lab.WriteFile(t, filepath.Join(path, name), text)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir, "c1", "100", fmt.Sprintf(configText, "container", "/kubepods/pod1/c1"))
	writeBundle(t, dir, "c2", "100", fmt.Sprintf(configText, "container", "/kubepods/pod2/c2"))
	for cgroup, want := range map[string]string{
		"/kubepods/pod1/c1":            "c1",
		"/kubepods/pod1/c1/own/deeper": "c1",
		"/kubepods/pod1/c1/c2":         "c1", // which is not that of c2
		"/kubepods/pod1":               "",
		"/kubelet":                     "",
		"/":                            "",
		"":                             "",
		"../../c1":                     "",
	} {
		if c, found := Find(dir, cgroup); c.ID != want || found != (want != "") {
			t.Errorf("Find(%q) = %q, %v, want %q", cgroup, c.ID, found, want)
		}
	}
}

func TestAny(t *testing.T) {
	dir := t.TempDir()
	if Any(filepath.Join(dir, "gone")) {
		t.Error("a directory that is not there has a container")
	}
	writeBundle(t, dir, "bad", "102", `{`)
	writeBundle(t, dir, "s1", "99", fmt.Sprintf(configText, "sandbox", "/kubepods/pod1/s1"))
	if Any(dir) {
		t.Error("a sandbox counts as a container")
	}
	writeBundle(t, dir, "x1", "101", `{}`)
	if !Any(dir) {
		t.Error("the container is not found")
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	writeBundle(t, dir, "c1", "100", fmt.Sprintf(configText, "container", "/kubepods/pod1/c1"))
	writeBundle(t, dir, "s1", "99\n", fmt.Sprintf(configText, "sandbox", "/kubepods/pod1/s1"))
	writeBundle(t, dir, "x1", "101", `{}`)
	writeBundle(t, dir, "starting", "", `{}`)
	writeBundle(t, dir, "bad1", "one", `{}`)
	writeBundle(t, dir, "bad2", "102", `{`)
	containers, errs := List(dir)
	want := []Container{
		{ID: "c1", Name: "container app of pod default/web", Pid: 100, Cgroup: "/kubepods/pod1/c1"},
		{ID: "s1", Name: "sandbox of pod default/web", Sandbox: true, Pid: 99, Cgroup: "/kubepods/pod1/s1"},
		{ID: "x1", Name: "container x1", Pid: 101, Cgroup: "/"},
	}
	if diff := cmp.Diff(want, containers); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if len(errs) != 2 || !strings.Contains(errs[0].Error(), "bad1/init.pid") || !strings.Contains(errs[1].Error(), "bad2/config.json") {
		t.Errorf("errors = %v", errs)
	}
	c, s := Split(containers)
	if len(c) != 2 || len(s) != 1 {
		t.Errorf("Split = %d containers, %d sandboxes", len(c), len(s))
	}
	if c, errs := List(filepath.Join(dir, "missing")); c != nil || errs != nil {
		t.Errorf("List of nothing = %v, %v", c, errs)
	}
}

func TestInCgroup(t *testing.T) {
	tests := []struct {
		text, cgroup string
		want         bool
	}{
		{"0::/kubepods/a\n", "/kubepods/a", true},
		{"1:cpu:/x\n0::/kubepods/a/inner\n", "/kubepods/a", true},
		{"0::/kubepods/ab\n", "/kubepods/a", false},
		{"0::/\n", "/", false},
		{"", "/kubepods/a", false},
	}
	for _, tt := range tests {
		if got := inCgroup(tt.text, tt.cgroup); got != tt.want {
			t.Errorf("inCgroup(%q, %q) = %v, want %v", tt.text, tt.cgroup, got, tt.want)
		}
	}
}

type lines []string

func (l *lines) Warn(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }
func (l *lines) Info(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// TestWait uses a real process and its pidfd, without a cgroup.
func TestWait(t *testing.T) {
	if len(os.Args) > 2 && os.Args[len(os.Args)-1] == "sleep" {
		time.Sleep(time.Hour)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=TestWait", "sleep")
	lab.Must(t, cmd.Start())
	r, err := hold(cmd.Process.Pid)
	if err != nil {
		t.Skip(err)
	}
	var log lines
	if left := wait([]running{r}, time.Millisecond, nil, &log); len(left) != 1 {
		t.Error("wait does not return a process that runs on")
	}
	r.kill()
	if left := wait([]running{r}, 20*time.Second, nil, &log); len(left) != 0 {
		t.Error("wait returns a process that has ended")
	}
	if len(log) != 1 || !strings.Contains(log[0], "x ended after") {
		t.Errorf("log = %q", log)
	}
	cmd.Wait()
}

func hold(pid int) (running, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	return running{Container{Name: "x", Cgroup: "/nonexistent"}, fd}, err
}
