package consoleline

import (
	"fmt"
	"strings"
	"unicode"
)

// The levels of records that are in use. With loglevel=6 on the kernel command line, all
// but Info reach the console.
const (
	LevelError   = 3
	LevelWarning = 4
	LevelNotice  = 5
	LevelInfo    = 6
)

// MaxLine keeps a record below the kernel's limit of about 1,000 bytes, above which the
// write fails.
const MaxLine = 900

// Record is what one write(2) to /dev/kmsg takes: a text of Format at a level. The text has
// no control characters, and at most MaxLine bytes; see Clean.
func Record(level int, text string) string {
	return fmt.Sprintf("<%d>%s%s\n", level, Prefix, text)
}

// Clean returns s without control characters and with at most limit bytes, so
// that text from outside cannot split a record or control a terminal, nor have it show
// letters in another order than they are in.
func Clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}
