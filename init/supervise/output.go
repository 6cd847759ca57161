package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"kios/internal/consoleline"

	"golang.org/x/sys/unix"
)

// tailLines is how many lines of a daemon that has ended are shown on the console:
// enough for the last ones before an exit, or the beginning of a panic.
const tailLines = 10

// maxTailLine bounds what is remembered of a line, in bytes.
const maxTailLine = 600

// Output is the pipe that a daemon writes to, and that is drained for ever. It
// outlives the process, so that nothing is lost between two processes, and nobody
// waits for a child that keeps it open.
type Output struct {
	// Report, if set, is called with what follows consoleline.Prefix at the beginning
	// of a line: our own mains write so what a user should know. Set it before Drain.
	Report func(text string)

	write *os.File // PID 1's copy; children get theirs from it
	note  *os.File // the same end for PID 1 to write to, which does not block
	read  *os.File
	null  *os.File
	to    io.Writer

	mu     sync.Mutex
	tail   []string // the last lines worth showing, the newest last
	fatal  bool     // the tail begins with the cause of death
	rest   []byte   // of a line that is not complete yet
	mark   string
	marked chan struct{}
}

// NewOutput makes the pipe. What comes through it is written to w, which must
// not block. A goroutine must call Drain.
func NewOutput(w io.Writer) (*Output, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	// The reader's end goes to Go's poller, so it must not block; the writer's
	// end must block, because that is what a program expects of its stdout.
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("make a pipe non-blocking: %w", err)
	}
	// Whether an end blocks is not up to a descriptor but to what was opened, which
	// children share. To open it anew is the only way to have both.
	note, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fds[1]), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a pipe again: %w", err)
	}
	return &Output{
		read:  os.NewFile(uintptr(fds[0]), "output"),
		write: os.NewFile(uintptr(fds[1]), "output"),
		note:  note,
		null:  null,
		to:    w,
	}, nil
}

// Drain copies the output until the Output is closed.
func (o *Output) Drain() {
	buf := make([]byte, 64<<10)
	for {
		n, err := o.read.Read(buf)
		if n > 0 {
			o.to.Write(buf[:n])
			o.remember(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// Close ends Drain. Daemons must have ended before.
func (o *Output) Close() {
	o.write.Close()
	o.note.Close()
	o.read.Close()
	o.null.Close()
}

// remember keeps the last lines of what came.
func (o *Output) remember(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		o.rest = append(o.rest, line[:min(len(line), max(maxTailLine-len(o.rest), 0))]...)
		if !found {
			return
		}
		o.addLine(string(o.rest))
		o.rest, p = o.rest[:0], rest
	}
}

func (o *Output) addLine(line string) {
	if o.marked != nil && line == o.mark {
		close(o.marked)
		o.marked = nil
		return
	}
	if line == "" {
		return
	}
	if text, ours := strings.CutPrefix(line, consoleline.Prefix); ours && o.Report != nil {
		o.Report(text)
	}
	o.keep(line)
}

// keep adds a line to the tail, unless it says that all is well. What follows
// a panic is its stack, of which the head says more than the end.
func (o *Output) keep(line string) {
	switch {
	case isChatter(line):
	case isFatal(line) && !o.fatal:
		o.tail, o.fatal = []string{line}, true
	case len(o.tail) < tailLines:
		o.tail = append(o.tail, line)
	case !o.fatal:
		o.tail = append(o.tail[1:], line)
	}
}

// isChatter recognises the informational lines of klog ("I1123 07:12:33...", the
// kubelet) and logrus (level=info, containerd).
func isChatter(line string) bool {
	klog := len(line) > 5 && line[0] == 'I' && strings.Trim(line[1:5], "0123456789") == "" && line[5] == ' '
	return klog || strings.Contains(line, " level=info ") || strings.Contains(line, " level=debug ")
}

// isFatal recognises how Go programs begin their last lines.
func isFatal(line string) bool {
	klog := len(line) > 5 && line[0] == 'F' && strings.Trim(line[1:5], "0123456789") == "" && line[5] == ' '
	return klog || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") ||
		strings.HasPrefix(line, "SIGABRT: ")
}

// Last returns the last lines worth showing that came before now, and forgets
// them. It writes a note into the pipe, and so into the log. A pipe keeps the order:
// when the note comes out at the other end, all that a dead process wrote has come
// out before.
func (o *Output) Last(note string) []string {
	note = consoleline.Prefix + note
	if len(note) > maxTailLine {
		note = note[:maxTailLine]
	}
	seen := make(chan struct{})
	o.mu.Lock()
	o.mark, o.marked = note, seen
	o.mu.Unlock()
	o.note.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(o.note, "\n"+note+"\n") // the last words may lack their newline
	select {
	case <-seen:
	case <-time.After(time.Second):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.marked = nil
	lines := o.tail
	o.tail, o.fatal = nil, false
	return lines
}
