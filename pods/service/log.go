package service

import (
	"io"
	"strings"

	"kios/internal/consoleline"
)

// maxLine is more than a person reads of a line, in bytes.
const maxLine = 8 << 10

// Lines is a writer for a log whose entries may hold what strangers have written, such as
// names that DHCP offers. They cannot control a terminal that shows the log, and what is
// behind a line end begins with blanks, so that it is no entry by itself.
func Lines(to io.Writer) io.Writer { return lines{to} }

type lines struct{ to io.Writer }

// Write writes one entry, as package log gives it.
func (l lines) Write(entry []byte) (int, error) {
	parts := strings.Split(strings.TrimRight(string(entry), "\n"), "\n")
	for i, part := range parts {
		parts[i] = consoleline.Clean(part, maxLine)
	}
	if _, err := io.WriteString(l.to, strings.Join(parts, "\n    ")+"\n"); err != nil {
		return 0, err
	}
	return len(entry), nil
}
