package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/progress"
)

// errLocked says that another process has a lock.
var errLocked = errors.New("another process has the lock")

// Lock waits for its turn among the processes that lock a file, and says on log whom
// it waits for. The kernel takes the lock from a process that ends.
func Lock(ctx context.Context, log *progress.Log, file string) (unlock func(), err error) {
	f, err := tryLock(file)
	if errors.Is(err, errLocked) {
		f, err = waitLock(ctx, log, file)
	}
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// tryLock locks a file, or fails with errLocked, and leaves our number in it.
func tryLock(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// waitLock polls, because flock(2) knows no way to end a wait but a signal.
func waitLock(ctx context.Context, log *progress.Log, file string) (f *os.File, err error) {
	step := log.Start(fmt.Sprintf("wait for another kios, %s", filepath.Base(strings.TrimSuffix(file, ".lock"))))
	defer func() { step.End(err) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if pid, err := os.ReadFile(file); err == nil {
			step.Note("process %s", strings.TrimSpace(string(pid)))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		if f, err = tryLock(file); !errors.Is(err, errLocked) {
			return f, err
		}
	}
}
