// Package node is the service of each container of the pod "node": it prints one
// of the node's logs, as package logfile writes them, from the beginning of this
// boot on, and follows it across rotations. It prints the files byte for byte.
// Remarks of its own are lines that begin with "(kios: ". It leaves out the logs
// of earlier boots, and does not parse, filter or forward what it prints.
//
// The files of a log are one stream: NAME.2, NAME.1, NAME. Only the last one is
// written to; a file that has been renamed is never written to again. So a file is
// done with when there is a newer one and, after that was seen, its end has been
// read. The place in the stream is an open file: a rename does not disturb it, and
// nobody can use its inode again.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// maxFiles is how many files a log can have; logfile keeps fewer.
const maxFiles = 10

// Tail prints the log at Path.
type Tail struct {
	Path string
	Boot string // the ID of this boot, as in logfile.Mark
	Out  io.Writer

	queue []*os.File // what is to be printed, the oldest first; only the last may grow
	buf   [32 << 10]byte
}

// Run prints until ctx ends or Out fails.
func (t *Tail) Run(ctx context.Context) error {
	w, err := newWatch(filepath.Dir(t.Path))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, w.stop)()
	defer w.Close()
	defer t.closeAll()
	if err := t.start(); err != nil {
		return err
	}
	for {
		more, err := t.advance(w)
		if err != nil {
			return fmt.Errorf("follow %s: %w", t.Path, err)
		}
		if more {
			continue
		}
		if _, err := w.Wait(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// start opens the files and goes to where this boot begins.
func (t *Tail) start() error {
	files, _, err := t.since(nil)
	if err != nil {
		return err
	}
	t.queue = files
	for i, f := range slices.Backward(files) {
		m, err := lastMark(f, t.buf[:])
		if err != nil {
			return fmt.Errorf("look for the beginning of this boot: %w", err)
		}
		if i == len(files)-1 {
			// If the last boot in the log is another one, this boot has written
			// nothing yet, and will write here.
			if _, err := f.Seek(m.end, io.SeekStart); err != nil {
				return err
			}
		}
		switch m.boot {
		case "":
			continue
		case t.Boot:
			t.drop(i)
			return t.seek(m.at)
		default:
			t.drop(len(files) - 1)
			return nil
		}
	}
	return t.seek(0) // no mark: all that is left is of this boot
}

// drop closes the first n files.
func (t *Tail) drop(n int) {
	for _, f := range t.queue[:n] {
		f.Close()
	}
	t.queue = t.queue[n:]
}

// seek goes to a place in the first file and to the beginning of the others.
func (t *Tail) seek(at int64) error {
	for _, f := range t.queue {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		at = 0
	}
	return nil
}

func (t *Tail) closeAll() { t.drop(len(t.queue)) }

// advance prints what there is of the first file and leaves it if it is
// complete. It reports whether there may be more at once.
func (t *Tail) advance(w *watch) (more bool, err error) {
	if len(t.queue) == 0 {
		err := t.add(nil)
		return len(t.queue) > 0, err // if there is none, the log has yet to begin
	}
	if len(t.queue) == 1 {
		if err := t.addNewer(w, t.queue[0]); err != nil {
			return false, err
		}
	}
	if err := t.drain(t.queue[0]); err != nil {
		return false, err
	}
	if len(t.queue) == 1 {
		return false, nil
	}
	t.drop(1)
	return true, nil
}

// addNewer watches the only file of the queue, and adds those that are newer. It
// watches before it looks for newer files, and before the file's end is read: a
// change after that wakes wait.
func (t *Tail) addNewer(w *watch, f *os.File) error {
	if err := w.file(f); err != nil {
		return err
	}
	if t.isNewest(f) {
		return nil
	}
	return t.add(f)
}

// isNewest reports whether the file is the one that is written to. It is asked
// at each line, and so allocates little.
func (t *Tail) isNewest(f *os.File) bool {
	var held, newest unix.Stat_t
	return unix.Fstat(int(f.Fd()), &held) == nil && unix.Lstat(t.Path, &newest) == nil &&
		held.Dev == newest.Dev && held.Ino == newest.Ino
}

// add adds the files to the queue that are newer than last.
func (t *Tail) add(last *os.File) error {
	files, gap, err := t.since(last)
	if err != nil {
		return err
	}
	t.queue = append(t.queue, files...)
	if gap {
		return t.remark("the log was replaced, or written faster than it could be read: lines may be missing here")
	}
	return nil
}

func (t *Tail) remark(text string) error {
	// What was printed before may have ended in the middle of a line.
	_, err := fmt.Fprintf(t.Out, "\n(kios: %s)\n", text)
	return err
}

// since opens the files that are newer than last, the oldest first. There is a
// gap if last is none of the log's files any more.
func (t *Tail) since(last *os.File) (files []*os.File, gap bool, err error) {
	for {
		before, _ := os.Lstat(t.Path)
		files, gap, err = t.open(last)
		after, _ := os.Lstat(t.Path)
		if err != nil || before == nil && after == nil || before != nil && after != nil && os.SameFile(before, after) {
			return files, gap, err
		}
		// The log was rotated meanwhile, so that a number may have meant two
		// files.
		for _, f := range files {
			f.Close()
		}
	}
}

// open is since for a log that is not rotated at the moment.
func (t *Tail) open(last *os.File) (files []*os.File, gap bool, err error) {
	defer func() { slices.Reverse(files) }()
	var newest *os.File
	for i := range maxFiles {
		f, err := openLog(numbered(t.Path, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue // while the files are rotated, one is missing for a moment
		}
		if err != nil {
			return files, false, err
		}
		switch {
		case last != nil && same(f, last):
			f.Close()
			return files, false, nil
		case newest != nil && same(f, newest):
			f.Close() // renamed after it was opened
		case last != nil && olderThan(f, last):
			f.Close()
			return files, len(files) > 0, nil
		default:
			files, newest = append(files, f), f
		}
	}
	return files, last != nil && len(files) > 0, nil
}

// openLog opens a regular file. Pods may write to the directory, too: what else they have
// put there is no log (fs.ErrNotExist), and is not waited for. Nor is what belongs to
// another user, which this root may not read. A descriptor with O_PATH opens nothing
// (open(2)): a device does not notice it, and nothing can be put in its place before the
// file behind it is opened.
func openLog(path string) (*os.File, error) {
	what, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(what)
	var st unix.Stat_t
	if err := unix.Fstat(what, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", what), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

func same(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// olderThan compares when the files were last written to. It is asked only if
// last has been removed, when there is nothing better to go by.
func olderThan(f, last *os.File) bool {
	info, err := f.Stat()
	held, heldErr := last.Stat()
	return err == nil && heldErr == nil && info.ModTime().Before(held.ModTime())
}

// drain prints the file from where it is to its end. A file that has become
// shorter than that is printed from its beginning.
func (t *Tail) drain(f *os.File) error {
	if err := rewindIfCut(f); err != nil {
		return err
	}
	for {
		n, err := f.Read(t.buf[:])
		if n > 0 {
			if _, err := t.Out.Write(t.buf[:n]); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func rewindIfCut(f *os.File) error {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Size < at {
		_, err = f.Seek(0, io.SeekStart)
	}
	return err
}
