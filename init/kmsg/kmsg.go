// Package kmsg writes to the kernel's log and reads it: /dev/kmsg, as
// Documentation/ABI/testing/dev-kmsg describes it. The kernel's log is where
// PID 1 reports, because it is there before any file system is, reaches every
// console and keeps its order with what the kernel itself says.
package kmsg

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"kios/internal/consoleline"
)

// Log writes records in the form of package consoleline. It is safe for use by
// several goroutines.
type Log struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a Log that writes each record to w in one call of Write, which
// is what /dev/kmsg asks for.
func New(w io.Writer) *Log { return &Log{w: w} }

// Kernel returns the kernel's log, or standard error where there is no /dev.
func Kernel() *Log {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return New(os.Stderr)
	}
	return New(f)
}

// SetWriter makes the Log write to w from now on.
func (l *Log) SetWriter(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = w
}

// Error logs what went wrong and somebody should look at.
func (l *Log) Error(format string, args ...any) {
	l.print(consoleline.LevelError, consoleline.Error, format, args)
}

// Warn logs what is not as it should be, but has been dealt with.
func (l *Log) Warn(format string, args ...any) {
	l.print(consoleline.LevelWarning, consoleline.Warning, format, args)
}

// Notice logs what somebody at the console wants to see.
func (l *Log) Notice(format string, args ...any) {
	l.print(consoleline.LevelNotice, consoleline.Note, format, args)
}

// Info logs what only somebody who reads the log wants to see.
func (l *Log) Info(format string, args ...any) {
	l.print(consoleline.LevelInfo, consoleline.Note, format, args)
}

// NoticeLine logs an event for somebody at the console.
func (l *Log) NoticeLine(line consoleline.Line) { l.printLine(consoleline.LevelNotice, line) }

// InfoLine logs an event for somebody who reads the log.
func (l *Log) InfoLine(line consoleline.Line) { l.printLine(consoleline.LevelInfo, line) }

// print writes one record for each line of the text, without those of others in
// between.
func (l *Log) print(level int, kind consoleline.Kind, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		l.write(level, consoleline.Format(consoleline.Line{Kind: kind, Text: consoleline.Clean(text, consoleline.MaxLine)}))
	}
}

func (l *Log) printLine(level int, line consoleline.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(level, consoleline.Clean(consoleline.Format(line), consoleline.MaxLine)) // names may be of any length
}

// write writes a record. An error is dropped: there is no other place to report
// it to.
func (l *Log) write(level int, text string) {
	io.WriteString(l.w, consoleline.Record(level, text))
}

// Copy reads records from r, an open /dev/kmsg, and writes each as a line of
// text to w, until reading fails. It calls said with the text of each that is the
// kernel's own: programs cannot write such records.
func Copy(w io.Writer, r io.Reader, said func(text string)) error {
	buf := make([]byte, 8192) // the longest record there is (CONSOLE_EXT_LOG_MAX)
	for {
		n, err := r.Read(buf)
		switch {
		case errors.Is(err, syscall.EPIPE):
			// The kernel has overwritten records that were not read yet. The next
			// read continues with the oldest record that is left.
			io.WriteString(w, "(records were lost here: the kernel wrote faster than they could be read)\n")
			continue
		case err != nil:
			return err
		}
		if record, ok := parse(buf[:n]); ok {
			io.WriteString(w, record.line())
			if record.priority>>3 == 0 { // see syslog(3): LOG_KERN
				said(record.text)
			}
		}
	}
}

var levels = [8]string{"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"}

// record is "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n", before lines of properties.
type record struct {
	priority uint64 // the level, and from bit 3 on who wrote it
	micros   uint64 // since the start of the kernel
	text     string
}

// parse returns false for what is no record.
func parse(bytes []byte) (r record, ok bool) {
	head, text, found := strings.Cut(string(bytes), ";")
	fields := strings.Split(head, ",")
	if !found || len(fields) < 3 {
		return record{}, false
	}
	var err1, err2 error
	r.priority, err1 = strconv.ParseUint(fields[0], 10, 32)
	r.micros, err2 = strconv.ParseUint(fields[2], 10, 64)
	r.text, _, _ = strings.Cut(text, "\n")
	return r, err1 == nil && err2 == nil
}

// line returns "[  12.345678] warning TEXT\n".
func (r record) line() string {
	return fmt.Sprintf("[%5d.%06d] %-7s %s\n", r.micros/1e6, r.micros%1e6, levels[r.priority&7], r.text)
}
