package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"kios/init/kmsg"
	"kios/init/signals"
	"kios/internal/kubeletargs"
)

// The test binary is a PID 1 that tells which signals it was sent, under the name
// told; under another name it is this program.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == "told":
		told()
	case !strings.Contains(os.Args[0], ".test"):
		os.Exit(help(os.Args, os.Stdout, os.Stderr, func() *kmsg.Log { return kmsg.New(io.Discard) }))
	}
	os.Exit(m.Run())
}

func told() {
	caught := make(chan os.Signal, 64) // Go drops what finds no room, and it sends itself SIGURG
	signal.Notify(caught)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args[1:]
	if err := cmd.Run(); err != nil {
		os.Stdout.WriteString(err.Error())
	}
	for sig := range caught {
		if sig != syscall.SIGURG && sig != syscall.SIGCHLD {
			os.Stdout.WriteString(signals.Name(sig))
			os.Exit(0)
		}
	}
}

// TestHelpersTellPID1 runs what the kernel runs when Hyper-V shuts a machine down.
func TestHelpersTellPID1(t *testing.T) {
	for path, want := range map[string]string{"/sbin/poweroff": "signal 38", "/sbin/reboot": "SIGINT"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = []string{"told", path}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s sent PID 1 %q, %v, want %s", path, out, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		code int
		text string // in the kernel's log
	}{
		{[]string{"/sbin/request-key", "create", "1"}, 1, ""},
		{[]string{"/sbin/bridge-stp", "br0", "start"}, 1, ""},
		{[]string{"/sbin/modprobe", "--version"}, 0, ""},
		{[]string{"/bin/init"}, 2, ""},
		{[]string{"/tmp/pod\nfile", "1234"}, 127, `warning: the kernel or a pod runs "/tmp/podfile 1234"`},
		{[]string{kubeletargs.ProviderLinks + "/mount", strings.Repeat("x", 1<<20)}, 1, ""}, // a provider, whose request is too large
		{nil, 127, `warning: the kernel or a pod runs ""`},
	} {
		var log bytes.Buffer
		code := help(tt.argv, io.Discard, io.Discard, func() *kmsg.Log { return kmsg.New(&log) })
		if code != tt.code || !strings.Contains(log.String(), tt.text) || (tt.text == "") != (log.Len() == 0) {
			t.Errorf("help(%q) = %d, log %q; want %d, %q", tt.argv, code, log.String(), tt.code, tt.text)
		}
	}
}
