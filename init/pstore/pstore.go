// Package pstore reads the kernel's last words: what it kept, before it restarted, in
// the firmware's memory. Each record is a file; to remove the file is to free the
// memory, which is small. See Documentation/ABI/testing/pstore in the kernel.
package pstore

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Dir is where the kernel shows the records.
const Dir = "/sys/fs/pstore"

// maxRecord bounds what is read of a record. The kernel keeps 10 KiB of its log, in
// parts.
const maxRecord = 64 << 10

// Record is one of them.
type Record struct {
	Name string
	Text []byte // in whole lines

}

// Move calls keep with each record, and removes those for which that has no error. It
// returns how many it has removed, and the first error.
func Move(dir string, keep func(Record) error) (moved int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		moveErr := move(filepath.Join(dir, e.Name()), keep)
		if moveErr == nil {
			moved++
		} else if err == nil {
			err = moveErr
		}
	}
	return moved, err
}

// Trim removes all records but the newest. It returns how many it has removed, and the
// first error.
func Trim(dir string, keep int) (removed int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return 0, err
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int { return written(b).Compare(written(a)) })
	for _, e := range entries[keep:] {
		removeErr := os.Remove(filepath.Join(dir, e.Name()))
		if removeErr == nil {
			removed++
		} else if err == nil {
			err = removeErr
		}
	}
	return removed, err
}

// written returns when the kernel wrote a record. One that has just gone is the oldest.
func written(e os.DirEntry) time.Time {
	info, err := e.Info()
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func move(path string, keep func(Record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if err := keep(Record{Name: filepath.Base(path), Text: text}); err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	return os.Remove(path)
}

// signs begin what tells most of a record, the better ones first.
var signs = []string{"Kernel panic - not syncing", "BUG: ", "Oops: ", "watchdog: ", "Out of memory: "}

// Words returns the line that tells most of the record: the reason of a panic if it is
// there, and otherwise the last line.
func (r Record) Words() string {
	for _, sign := range signs {
		if i := bytes.Index(r.Text, []byte(sign)); i >= 0 {
			line, _, _ := bytes.Cut(r.Text[i:], []byte("\n"))
			return string(line)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(r.Text)), "\n")
	return lines[len(lines)-1]
}
