package direct

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// aliveEvery is how often it is looked whether the process to be released is
// still there; runc does so as often. After releaseBound the wait is runc's, which
// ends it when the caller gives up.
const (
	aliveEvery   = 100 * time.Millisecond
	releaseBound = 10 * time.Second
)

// release lets the process of a created container go, as `runc start` does: it
// waits in open(2) for somebody to read the FIFO in its state directory, writes
// one byte, and becomes the container's program.
//
// It returns false if that did not happen. The caller then runs `runc start`,
// which names the reason.
func release(state, bundle string) (done bool, err error) {
	pid, ok := initPid(bundle)
	if !ok {
		return false, nil
	}
	path := filepath.Join(state, "exec.fifo")
	// Not blocking, because the other side may have died.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil
	}
	defer unix.Close(fd)
	if !readable(fd, pid) {
		return false, nil
	}
	var byte [1]byte
	if n, err := unix.Read(fd, byte[:]); n != 1 || err != nil {
		return false, nil
	}
	// With the FIFO there, runc takes the container for one that waits.
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("remove the FIFO of a started container: %w", err)
	}
	return true, nil
}

// initPid returns the number of the process that waits to be released.
func initPid(bundle string) (pid int, ok bool) {
	text, err := os.ReadFile(filepath.Join(bundle, "init.pid"))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return pid, err == nil
}

// readable waits for something to read, for as long as the process lives.
func readable(fd, pid int) bool {
	for start := time.Now(); time.Since(start) < releaseBound; {
		if poll(fd, aliveEvery) {
			return true
		}
		if !alive(pid) {
			// It may have written, run and ended since.
			return poll(fd, 0)
		}
	}
	return false
}

// poll waits for something to read from fd.
func poll(fd int, bound time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, int(bound.Milliseconds())) // after an error there is nothing
	return n > 0 && fds[0].Revents&unix.POLLIN != 0
}

// alive reports whether a process is there and not a zombie, see
// proc_pid_stat(5).
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
