package systembus

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kios/internal/consoleline"

	"golang.org/x/sys/unix"
)

// Lock is what a client holds that wants to forbid or delay the end of the machine.
// It lasts as long as the file that the client was given.
type Lock struct {
	Who, Why  string
	PID       uint32
	uid       uint32
	what      []string
	mode      string
	taken     time.Time
	ended     time.Time // once released is closed
	released  chan struct{}
	onRelease func()
}

// Released is closed when the client lets go of the lock, or ends.
func (l *Lock) Released() <-chan struct{} { return l.released }

// Ended is when that was.
func (l *Lock) Ended() time.Time { return l.ended }

// String says who holds the lock and why.
func (l *Lock) String() string { return fmt.Sprintf("%s (process %d): %s", l.Who, l.PID, l.Why) }

// lockable is what locks may inhibit. Only the first has an effect on a node; the
// others are accepted because clients name several at once.
var lockable = []string{
	"shutdown", "sleep", "idle", "handle-power-key", "handle-suspend-key",
	"handle-hibernate-key", "handle-lid-switch", "handle-reboot-key",
}

// newLock reads the arguments of Inhibit.
func newLock(c *client, args []any) (*Lock, error) {
	text := func(i int) string { return consoleline.Clean(args[i].(string), 200) }
	l := &Lock{
		what: strings.Split(args[0].(string), ":"), Who: text(1), Why: text(2), mode: args[3].(string),
		uid: c.uid, PID: uint32(c.pid), taken: time.Now(), released: make(chan struct{}),
	}
	for _, w := range l.what {
		if !slices.Contains(lockable, w) {
			return nil, fault(invalidArgs, "%.40q cannot be inhibited; what can: %s", w, strings.Join(lockable, " "))
		}
	}
	switch {
	case l.mode != "block" && l.mode != "delay":
		return nil, fault(invalidArgs, "the mode is block or delay, not %.40q", l.mode)
	case l.mode == "delay" && slices.ContainsFunc(l.what, func(w string) bool { return w != "shutdown" && w != "sleep" }):
		return nil, fault(invalidArgs, "only shutdown and sleep can be delayed")
	}
	return l, nil
}

// file makes a pipe and returns the end for the client. The lock is released when
// that end is closed, which the kernel does for a client that ends.
func (l *Lock) file() (*os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "lock"), os.NewFile(uintptr(fds[1]), "lock")
	go func() {
		defer ours.Close()
		var junk [64]byte
		for {
			if _, err := ours.Read(junk[:]); err != nil {
				break
			}
		}
		l.ended = time.Now()
		l.onRelease()
		close(l.released)
	}()
	return theirs, nil
}

func (l *Lock) holds(what, mode string) bool { return l.mode == mode && slices.Contains(l.what, what) }
