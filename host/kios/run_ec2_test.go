package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/console"
	"kios/host/imds"
	"kios/host/qemu"
	"kios/internal/consoleline"
	"kios/test/lab"
)

func TestMemoryOrDefault(t *testing.T) {
	for _, tt := range []struct {
		o    runOptions
		want string
	}{{runOptions{}, "512M"}, {runOptions{userData: "f"}, "1G"}, {runOptions{userData: "f", memory: "2G"}, "2G"}} {
		if got := tt.o.memoryOrDefault(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.o, got, tt.want)
		}
	}
}

func TestMetadataLog(t *testing.T) {
	var l metadataLog
	for _, step := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"one\ntw", []string{"one"}},
		{"one\ntwo\nthree\n", []string{"two", "three"}},
		{"one\ntwo\nthree\n", nil},
		{"new\n", []string{"new"}},
	} {
		if diff := cmp.Diff(step.want, l.lines(step.text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", step.text, diff)
		}
	}
}

// What the pod says at the console, too, is shown once: with its severity, and cut as it is
// there.
func TestMetadataLogAndConsole(t *testing.T) {
	var l metadataLog
	long := strings.Repeat("x", 2*consoleline.MaxPodText)
	l.held = l.lines("the metadata come from a cloud\nuser data: a mistake\n" + long + "\n")
	l.see("pod metadata: user data: a mistake") // after the log was read
	l.see("pod metadata: " + consoleline.Clean(long, consoleline.MaxPodText))
	l.see("the clock says 1970-01-01")
	if diff := cmp.Diff([]string{"the metadata come from a cloud"}, l.news()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 2 * maxSeen {
		l.see(fmt.Sprint("pod metadata: ", i))
	}
	if list := l.news(); len(list) > 0 || len(l.seen) > maxSeen {
		t.Errorf("%q comes again, or %d lines are remembered", list, len(l.seen))
	}
}

// The button is pressed until the node says that it stops, and not after that.
func TestNodeNoticesTheButton(t *testing.T) {
	w := newWatch(console.NewPrinter(io.Discard), &runPlan{})
	for i, line := range []string{"kios: the power button asks the node to stop: it first ends what it is doing", "kios: stopping, as the power button asks", "kios: stopping, as a pod asks"} {
		w.line(qemu.Line{Text: "[   10.000000] " + line})
		select {
		case <-w.stopping:
			if i == 0 {
				t.Errorf("%s: that is no stop", line)
			}
		default:
			if i > 0 {
				t.Errorf("%s: it is not noticed", line)
			}
		}
	}
}

// TestStartEC2 has a connection go through what QEMU is told to start.
func TestStartEC2(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "user-data")
	lab.WriteFile(t, file, "#cloud-config\n")
	r := &runPlan{options: runOptions{userData: file}, dir: dir, memory: 1 << 30, arch: arch.Host()}
	var cfg qemu.Config
	stop, err := r.startEC2(&cfg)
	lab.Must(t, err)
	defer stop()
	if words := cfg.EC2.Service; len(words) != 3 || words[1] != relayCommand || cfg.EC2.Type != r.arch.EC2.InstanceType(r.memory) {
		t.Fatalf("%+v", cfg.EC2)
	}
	var answer strings.Builder
	lab.Must(t, imds.Relay(cfg.EC2.Service[2], strings.NewReader("GET /latest/user-data HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), &answer))
	if !strings.HasPrefix(answer.String(), "HTTP/1.1 401") {
		t.Errorf("answer: %q", answer.String())
	}
}

func TestListFiles(t *testing.T) {
	dir := t.TempDir()
	lab.WriteFile(t, filepath.Join(dir, "hostname"), "node-1\n")
	lab.WriteFile(t, filepath.Join(dir, "large"), strings.Repeat("x", maxShownFile+1))
	lab.WriteFile(t, filepath.Join(dir, "binary"), "\x00")
	lab.WriteFile(t, filepath.Join(dir, "ca.crt"), "-----BEGIN CERTIFICATE-----\n")
	lab.Must(t, os.WriteFile(filepath.Join(dir, "key"), []byte("secret"), 0o600))
	got, err := listFiles(dir)
	if diff := cmp.Diff("  binary: no text\n  ca.crt: PEM\n  hostname\n      node-1\n  key: for root only\n  large: 2049 bytes\n", got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
