package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/cluster"
	"kios/test/lab"
)

func TestExitCode(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"well", t.Context(), nil, 0},
		{"badly", t.Context(), errors.New("x"), 1},
		{"interrupted", cancelled, fmt.Errorf("build: %w", context.Canceled), interrupted},
		{"interrupted, and something to say", cancelled, errors.New("machines were killed"), interrupted},
		{"interrupted, and well nevertheless", cancelled, nil, 0},
	} {
		if got := exitCode(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%s: exitCode = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Only a person is asked whether a cluster is to be removed.
func TestPurgeIsConfirmed(t *testing.T) {
	in, out, err := os.Pipe()
	lab.Must(t, err)
	defer in.Close()
	out.WriteString("y\n")
	out.Close()
	var said bytes.Buffer
	if err := confirm(t.Context(), in, &said, "a"); err == nil || !strings.Contains(err.Error(), "--yes") || said.Len() > 0 {
		t.Errorf("confirm without a terminal = %v, and asks %q", err, said.String())
	}
}

// A directory that kios did not make is refused before anything is stopped or asked.
func TestPurgeOfForeignDirectory(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	root, err := cluster.Root()
	lab.Must(t, err)
	mine := filepath.Join(root, "mine/my.txt")
	lab.WriteFile(t, mine, "precious")
	cmd := newClusterCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"down", "--purge", "--yes", "--name", "mine"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "kios has not made "+mine+": move it elsewhere") {
		t.Errorf("kios cluster down --purge = %v, want a refusal", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(mine)); err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v, %v; want my.txt alone", entries, err)
	}
}

// newTerminal returns both ends of a new terminal (pty(7)).
func newTerminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	lab.Must(t, err)
	t.Cleanup(func() { keyboard.Close() })
	lab.Must(t, unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	lab.Must(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	lab.Must(t, err)
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

func TestPurgeAtATerminal(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "\x04": false} {
		keyboard, tty := newTerminal(t)
		keyboard.WriteString(answer)
		if err := confirm(t.Context(), tty, io.Discard, "a"); (err == nil) != want {
			t.Errorf("answer %q: confirm = %v, want success %v", answer, err, want)
		}
	}
}

// Ctrl-C at the question ends it, and an answer after that counts no more.
func TestPurgeIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, tty := newTerminal(t)
	asked := make(chan error)
	go func() { asked <- confirm(ctx, tty, io.Discard, "a") }()
	cancel()
	select {
	case err := <-asked:
		if err == nil {
			t.Error("confirm takes Ctrl-C for yes")
		}
	case <-time.After(10 * time.Second):
		t.Error("the question goes on after Ctrl-C")
	}
	keyboard, tty := newTerminal(t)
	keyboard.WriteString("y\n")
	if err := confirm(ctx, tty, io.Discard, "a"); err == nil {
		t.Error("confirm takes yes after Ctrl-C")
	}
}

// A cluster that is not there is not asked about.
func TestPurgeOfNoCluster(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	if _, err := clusterToEnd("none", true); !errors.Is(err, cluster.ErrNone) {
		t.Errorf("clusterToEnd = %v, want %v", err, cluster.ErrNone)
	}
}

// Our own policy of a run that was killed goes away, and that of somebody else stays.
func TestForbidServices(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	forbidServices(policy) // and is killed
	if text := lab.ReadFile(t, policy); !strings.Contains(text, "exit 101") {
		t.Errorf("the policy is %q", text)
	}
	forbidServices(policy)()
	if _, err := os.Stat(policy); err == nil {
		t.Error("our policy is still there")
	}
	lab.WriteFile(t, policy, "#!/bin/sh\nexit 0\n")
	forbidServices(policy)()
	if text := lab.ReadFile(t, policy); !strings.HasSuffix(text, "exit 0\n") {
		t.Errorf("somebody else's policy became %q", text)
	}
}
