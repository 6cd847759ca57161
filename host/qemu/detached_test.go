package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestAttachKnowsAProcessFromItsSuccessor(t *testing.T) {
	me := process{PID: os.Getpid(), Start: startTime(os.Getpid()), Boot: bootID()}
	for _, tt := range []struct {
		name   string
		change func(*process)
		want   error
	}{
		{"the same", func(*process) {}, nil},
		{"another start", func(p *process) { p.Start = "1" }, ErrNotRunning},
		{"another boot of the host", func(p *process) { p.Boot = "x" }, ErrNotRunning},
		{"none", func(p *process) { p.PID = 1 << 22 }, ErrNotRunning},
		{"nothing known", func(p *process) { p.PID, p.Start = 0, "" }, ErrNotRunning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, p := t.TempDir(), me
			tt.change(&p)
			data, err := json.Marshal(p)
			lab.Must(t, err)
			lab.Must(t, os.WriteFile(filepath.Join(dir, "process.json"), data, 0o600))
			if _, err := Attach(dir); !errors.Is(err, tt.want) {
				t.Errorf("Attach = %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := Attach(t.TempDir()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Attach of an empty directory = %v, want %v", err, ErrNotRunning)
	}
}

func TestSocketPath(t *testing.T) {
	if err := checkSocketPath("/" + strings.Repeat("x", 106)); err != nil {
		t.Error(err)
	}
	if err := checkSocketPath("/" + strings.Repeat("x", 107)); err == nil {
		t.Error("checkSocketPath of 108 bytes = nil")
	}
}

func TestSwitchArgs(t *testing.T) {
	got := SwitchConfig{
		Dir:   "/d",
		Ports: []string{"a"},
	}.args()
	want := []string{
		"-name", "kios-network",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "none",
		"-chardev", "socket,id=qmp,server=on,wait=off,fd=3", "-mon", "chardev=qmp,mode=control",
		"-netdev", "stream,id=port-a,server=on,addr.type=fd,addr.str=4",
		"-netdev", "hubport,id=hub-a,hubid=0,netdev=port-a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
	node := Config{Switch: "/d/a.sock"}.networkArgs(nil)
	if want := "stream,id=net0,server=off,addr.type=unix,addr.path=/d/a.sock"; node[1] != want {
		t.Errorf("the machine's end is %q, want %q", node[1], want)
	}
}
