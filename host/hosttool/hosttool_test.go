package hosttool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
