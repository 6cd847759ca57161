package consoleline

import (
	"strconv"
	"strings"
	"time"
)

// Parse reads what follows the prefix of a line. It never fails: what has no other
// form is a Note.
func Parse(text string) Line {
	for mark, kind := range map[string]Kind{noteMark: Note, warningMark: Warning, errorMark: Error} {
		if rest, found := strings.CutPrefix(text, mark); found {
			return Line{Kind: kind, Text: rest}
		}
	}
	for _, form := range []func(*scanner) Line{step, stop, image, pod, ready} {
		s := scanner{rest: text}
		if l := form(&s); s.done() {
			return l
		}
	}
	return Line{Text: text}
}

func step(s *scanner) Line {
	s.skip("step ")
	return Line{Kind: Step, Name: s.word(), Took: s.duration(" ")}
}

func stop(s *scanner) Line {
	s.skip("stop ")
	return Line{Kind: Stop, Name: s.word(), Took: s.duration(" ")}
}

func image(s *scanner) Line {
	s.skip("image ")
	return Line{Kind: Imported, Name: s.word(), Took: s.duration(" imported ")}
}

func ready(s *scanner) Line {
	l := Line{Kind: Ready, Name: s.word()}
	s.skip(" ready")
	return l
}

func pod(s *scanner) Line {
	s.skip("pod ")
	l := Line{Kind: Started, Namespace: s.wordBefore('/')}
	s.skip("/")
	l.Pod = s.word()
	s.skip(" container ")
	l.Container = s.word()
	if s.rest == " started" {
		s.rest = ""
		return l
	}
	s.skip(" exited with code ")
	l.Kind, l.Exit = Exited, s.number()
	return l
}

// scanner takes a text apart from its beginning. After a mistake it goes on with
// zero values.
type scanner struct {
	rest string
	bad  bool
}

// done reports whether the text had the form that was asked for, and no more.
func (s *scanner) done() bool { return !s.bad && s.rest == "" }

func (s *scanner) skip(text string) {
	rest, found := strings.CutPrefix(s.rest, text)
	s.rest, s.bad = rest, s.bad || !found
}

// word takes a name, as the function word writes it.
func (s *scanner) word() string { return s.wordBefore(' ') }

func (s *scanner) wordBefore(end rune) string {
	if quoted, err := strconv.QuotedPrefix(s.rest); err == nil && quoted[0] == '"' {
		s.rest = s.rest[len(quoted):]
		name, _ := strconv.Unquote(quoted)
		return name
	}
	n := plainLength(s.rest, end)
	name := s.rest[:n]
	s.rest, s.bad = s.rest[n:], s.bad || name == ""
	return name
}

// number takes a whole number, which is the end of the text.
func (s *scanner) number() int {
	n, err := strconv.Atoi(s.rest)
	s.rest, s.bad = "", s.bad || err != nil
	return n
}

// maxDigits is more than any duration in milliseconds has, and fits a time.Duration.
const maxDigits = 12

// duration takes the words before it, and "N ms".
func (s *scanner) duration(before string) time.Duration {
	s.skip(before)
	digits, rest, _ := strings.Cut(s.rest, " ")
	ms, err := strconv.ParseUint(digits, 10, 63)
	s.rest = rest
	s.skip("ms")
	s.bad = s.bad || err != nil || len(digits) > maxDigits
	return time.Duration(ms) * time.Millisecond
}
