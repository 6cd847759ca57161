package hosttool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/test/lab"
)

func TestFindNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find("mkfs.erofs")
	const want = "mkfs.erofs is not installed; as root run: apt-get install erofs-utils"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestRun(t *testing.T) {
	out, err := Command{Name: "sh", Args: []string{"-c", `cat; echo "$X $LC_ALL"`}, Env: []string{"X=y"}, Stdin: "in "}.Run(context.Background())
	if err != nil || out != "in y C\n" {
		t.Errorf("Run() = %q, %v", out, err)
	}
}

func TestRunErrors(t *testing.T) {
	_, err := Run(t.Context(), "sh", "-c", "echo first >&2; echo sh: last >&2; exit 3")
	if err == nil || err.Error() != "sh: last (exit status 3)" {
		t.Errorf("error = %v", err)
	}
}

// Who cancels a program that runs gets rid of it, and a reason.
func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, "sh", "-c", "echo $$ >"+started+"; exec sleep 60")
		done <- err
	}()
	var pid int
	lab.Eventually(t, 20*time.Second, "the program's start", func() error {
		text, err := os.ReadFile(started)
		if err == nil {
			_, err = fmt.Sscan(string(text), &pid)
		}
		return err
	})
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: error = %v, want %v", err, context.Canceled)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("cancelled: it goes on")
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("cancelled: process %d is still there (%v)", pid, err)
	}
}

// What a program has started in the background ends with it, and what it cleans up is
// cleaned up.
func TestExecEndsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	started, cleaned := filepath.Join(dir, "started"), filepath.Join(dir, "cleaned")
	cmd := Exec(ctx, "sh", "-c", "trap 'touch "+cleaned+"; exit 1' INT; sleep 600 & echo $! >"+started+"; wait")
	stdout, err := cmd.StdoutPipe() // open as long as the child in the background has it
	lab.Must(t, err)
	lab.Must(t, cmd.Start())
	lab.Eventually(t, 20*time.Second, "the program's start", func() error {
		_, err := os.Stat(started)
		return err
	})
	cancel()
	if _, err := io.ReadAll(stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) && err == nil {
		t.Error("a cancelled program ended without an error")
	}
	if _, err := os.Stat(cleaned); err != nil {
		t.Errorf("the program could not clean up: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	program := filepath.Join(dir, "tool")
	lab.Must(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	one, err := Fingerprint("tool")
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(program, []byte("#!/bin/sh\n# newer\n"), 0o755))
	two, err := Fingerprint("tool")
	lab.Must(t, err)
	if one == two {
		t.Error("another program has the same fingerprint")
	}
	if got := libraries("/bin/ls"); !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, "libc.so") }) {
		t.Errorf("libraries(/bin/ls) = %v, want the C library among them", got)
	}
}
