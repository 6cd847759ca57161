// Package logfile keeps a program's output in a file of bounded size. Writing
// never blocks and never fails, whatever the disk does: a program whose pipe
// is not drained stops dead, so what cannot be kept is dropped and counted.
//
// A full file NAME is renamed to NAME.1, that one before to NAME.2 and so on.
// Files are kept over boots, so a line tells where each begins (see Mark).
//
// Pods may write to the directory, too. So a log is a regular file of this
// program's user under one name; anything else that is in its place is put aside
// and never written to: not a link, a device, a FIFO, or a file of somebody else.
package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// queueLimit bounds, in bytes, what waits for a disk that is slow or hangs.
const queueLimit = 1 << 20

// File is a rotated log. Make it with New and let a goroutine call Run.
type File struct {
	path  string
	limit int64 // of one file, in bytes
	keep  int   // files, the current one included

	// Report is told once of each series of failures, in a sentence. It must
	// be set before Run.
	Report func(format string, args ...any)

	// Boot, if set, is the ID of this boot, whose Mark then precedes the first
	// line. It must be set before Run.
	Boot string

	mu     sync.Mutex
	queue  []byte
	lost   int64 // bytes dropped since the last that were kept
	closed bool
	wake   chan struct{}
	done   chan struct{}

	// Of Run alone:
	file   *os.File
	size   int64
	failed bool
	marked bool
}

// MarkPrefix begins the line that Mark returns.
const MarkPrefix = "(kios: boot "

// Mark returns the line, newline included, with which the output of a boot
// begins. It is always at the beginning of a line and of one length, so that a
// reader can find the last one.
func Mark(boot string) string { return MarkPrefix + boot + ")\n" }

// BootID returns the kernel's ID of this boot, see random(4).
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the ID of this boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// New returns a log at path of at most keep files of limit bytes each. The
// file is opened, and appended to, with the first line.
func New(path string, limit int64, keep int) *File {
	return &File{
		path: path, limit: limit, keep: keep,
		Report: func(string, ...any) {},
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

// Write queues p. It always returns len(p) and no error.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	if f.closed || len(f.queue)+len(p) > queueLimit {
		f.lost += int64(len(p))
	} else {
		f.queue = append(f.queue, p...)
	}
	f.mu.Unlock()
	f.poke()
	return len(p), nil
}

func (f *File) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run writes what was queued until Close is called.
func (f *File) Run() {
	defer close(f.done)
	for range f.wake {
		batch, lost, closed := f.take()
		f.store(batch, lost)
		if closed {
			f.closeFile()
			return
		}
	}
}

func (f *File) take() (batch []byte, lost int64, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	batch, lost, closed = f.queue, f.lost, f.closed
	f.queue, f.lost = nil, 0
	return batch, lost, closed
}

// Close writes out what is queued, closes the file and waits for that. Run
// must have been called.
func (f *File) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.poke()
	<-f.done
}

// Save writes p at once, and returns when it will outlive a power cut. It is for a File
// that nobody runs.
func (f *File) Save(p []byte) error {
	defer f.closeFile()
	if err := f.append(p); err != nil || f.file == nil {
		return err
	}
	return f.file.Sync()
}

// store appends a batch and, if that succeeds, a note of what was lost before.
func (f *File) store(batch []byte, lost int64) {
	if len(batch) == 0 && lost == 0 {
		return
	}
	output := int64(len(batch))
	if lost > 0 {
		batch = append(fmt.Appendf(nil, "(kios: %d bytes of output could not be kept)\n", lost), batch...)
	}
	if f.Boot != "" && !f.marked {
		batch = append([]byte(Mark(f.Boot)), batch...)
	}
	if err := f.append(batch); err != nil {
		f.fail(err, lost+output)
		return
	}
	f.failed, f.marked = false, true
}

// fail counts what was lost and reports the first failure of a series: on a
// full disk each line fails, and the console has better uses.
func (f *File) fail(err error, lost int64) {
	f.mu.Lock()
	f.lost += lost
	f.mu.Unlock()
	f.closeFile() // a new attempt starts with opening it, once there may be space
	if !f.failed {
		f.Report("log %s: %v; output is lost until that changes", f.path, err)
	}
	f.failed = true
}

func (f *File) append(p []byte) error {
	for len(p) > 0 {
		part := f.part(p)
		if err := f.appendPart(part); err != nil {
			return err
		}
		p = p[len(part):]
	}
	return nil
}

// part returns as much of p as one file may have, in whole lines if there are any.
func (f *File) part(p []byte) []byte {
	if int64(len(p)) <= f.limit {
		return p
	}
	part := p[:f.limit]
	if end := bytes.LastIndexByte(part, '\n'); end >= 0 {
		part = part[:end+1]
	}
	return part
}

func (f *File) appendPart(p []byte) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(len(p)) > f.limit {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return err
}

func (f *File) open() error {
	file, err := openOwn(f.path)
	if errors.Is(err, errForeign) {
		if asideErr := f.putAside(); asideErr != nil {
			return fmt.Errorf("%w; put it aside: %w", err, asideErr)
		}
		f.Report("%v; it was put aside", err)
		file, err = openOwn(f.path)
	}
	if err != nil {
		return err
	}
	size, err := endLine(file)
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, size
	return nil
}

// errForeign is what openOwn returns for something that is no log of ours.
var errForeign = errors.New("is no log of this program")

// openOwn opens a log, or makes it. It does not wait, whatever is there: a FIFO has
// nobody at its other end, and whoever holds a lease of a file may keep it.
func openOwn(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		if info, statErr := os.Lstat(path); statErr == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s %w: it is no regular file", path, errForeign)
		}
		return nil, err
	}
	if err := demandOwn(file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// demandOwn refuses what somebody else can reach under another name or has a hand in.
func demandOwn(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s %w: it is no regular file", file.Name(), errForeign)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s %w: it belongs to the user %d", file.Name(), errForeign, st.Uid)
	case ok && st.Nlink != 1:
		return fmt.Errorf("%s %w: it has %d names", file.Name(), errForeign, st.Nlink)
	}
	return nil
}

// putAside keeps the text of somebody's file as that of an older log. What is no file
// has none.
func (f *File) putAside() error {
	info, err := os.Lstat(f.path)
	switch {
	case err == nil && info.Mode().IsRegular():
		f.shift()
		return nil
	case err == nil && info.IsDir() && os.Remove(f.path) != nil:
		return f.rename()
	}
	if err := os.Remove(f.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// rename gives a directory with something in it a free name beside the log.
func (f *File) rename() error {
	free, err := os.MkdirTemp(filepath.Dir(f.path), filepath.Base(f.path)+".aside-")
	if err != nil {
		return err
	}
	if err := syscall.Rename(f.path, free); err != nil { // os.Rename refuses a directory, even an empty one
		os.Remove(free)
		return err
	}
	return nil
}

// endLine completes a last line that a power cut has left without its end, and
// returns the size of the file.
func endLine(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], info.Size()-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return info.Size(), nil
	}
	_, err = file.WriteString("\n")
	return info.Size() + 1, err
}

func (f *File) closeFile() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}

func (f *File) rotate() error {
	f.closeFile()
	f.shift()
	return f.open()
}

// shift moves each file one number up, over the oldest. One that cannot be moved, as
// somebody has put a directory there, costs itself and not the log.
func (f *File) shift() {
	for i := f.keep - 1; i > 0; i-- {
		_ = os.Rename(f.numbered(i-1), f.numbered(i))
	}
	os.Remove(f.path) // it is gone but if it is the only one that is kept, or could not be moved
}

func (f *File) numbered(i int) string {
	if i == 0 {
		return f.path
	}
	return fmt.Sprintf("%s.%d", f.path, i)
}
