package server

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listenFD is where the first inherited socket is, by sd_listen_fds(3).
const listenFD = 3

// Inherited returns the socket that was passed as file descriptor 3, or nil if
// LISTEN_FDS does not announce one. LISTEN_PID is not looked at: our parent
// cannot know it before we run. The variables are removed and the descriptor
// is closed on exec, so that shims inherit neither.
func Inherited() (net.Listener, error) {
	announced := os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if announced == "" || announced == "0" {
		return nil, nil
	}
	return listen(listenFD)
}

// listen returns a listener on a copy of fd, and leaves fd to Reinherit. The
// copy does not remove the socket's file when it is closed: Go does that only
// for sockets that it has bound itself.
func listen(fd int) (net.Listener, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("inherit the socket on file descriptor %d: %w", fd, err)
	}
	// Not os.NewFile(fd): its finalizer would close fd itself.
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "inherited socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("inherit the socket on file descriptor %d: %w", fd, err)
	}
	return l, nil
}

// Reinherit makes the inherited socket survive an exec of this process, and
// returns false if there is none.
func Reinherit() bool {
	if _, err := unix.Getsockname(listenFD); err != nil {
		return false
	}
	_, err := unix.FcntlInt(listenFD, unix.F_SETFD, 0)
	return err == nil
}
