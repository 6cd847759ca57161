package node

import (
	"bytes"
	"errors"
	"io"
	"os"

	"kios/internal/logfile"
)

// markSize is more than a mark has.
const markSize = 128

// mark is where a boot begins in a file.
type mark struct {
	boot string // "" if there is none
	at   int64
	end  int64 // of the file when it was read
}

// lastMark returns the last mark of a boot in the file. It reads backwards: during
// a boot, when time matters, the mark is near the end, behind megabytes of earlier
// boots. It leaves the file's offset as it is.
func lastMark(f *os.File, buf []byte) (mark, error) {
	info, err := f.Stat()
	if err != nil {
		return mark{}, err
	}
	m, step := mark{end: info.Size()}, int64(len(buf)-markSize)
	for end := m.end; end > 0; {
		begin := max(0, end-step)
		// Beyond end, for a mark that begins before it.
		n, err := f.ReadAt(buf, begin)
		if err != nil && !errors.Is(err, io.EOF) {
			return mark{}, err
		}
		if at, boot := findLast(buf[:n], begin == 0); boot != "" {
			m.at, m.boot = begin+int64(at), boot
			break
		}
		end = begin
	}
	return m, nil
}

// findLast looks for a mark in a part of a file, which may be its beginning.
func findLast(text []byte, isBeginning bool) (at int, boot string) {
	prefix := []byte("\n" + logfile.MarkPrefix)
	for end := len(text); ; {
		i := bytes.LastIndex(text[:end], prefix)
		if i < 0 {
			break
		}
		if boot := parseMark(text[i+1:]); boot != "" {
			return i + 1, boot
		}
		end = i + len(prefix) - 1
	}
	if isBeginning {
		return 0, parseMark(text)
	}
	return 0, ""
}

// parseMark returns the ID in the mark that text begins with, or "".
func parseMark(text []byte) string {
	rest, found := bytes.CutPrefix(text, []byte(logfile.MarkPrefix))
	if !found {
		return ""
	}
	boot, _, found := bytes.Cut(rest[:min(len(rest), markSize)], []byte(")\n"))
	if !found || bytes.ContainsAny(boot, "\n ") {
		return ""
	}
	return string(boot)
}
