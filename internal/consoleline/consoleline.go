// Package consoleline is the form of the lines that PID 1 writes to the kernel's
// log, and so to the console. PID 1 writes it, and the host command reads it.
//
// A line begins with "kios: ". What follows is one of these:
//
//	step NAME N ms                                       a step of the boot is done
//	stop NAME N ms                                       a step of the shutdown is done
//	NAME ready                                           a daemon is ready
//	pod NAMESPACE/POD container NAME started
//	pod NAMESPACE/POD container NAME exited with code N
//	image NAME imported N ms
//	warning: TEXT                                        a problem that was dealt with
//	error: TEXT                                          a problem that somebody should look at
//	TEXT                                                 anything else
//
// The console does not show the level of a record, so the words "warning" and
// "error" carry it. A NAME that is not one plain word is quoted as in Go. A TEXT of
// the last form that would read as another form has "note: " before it.
package consoleline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Prefix is what each line of PID 1 begins with. Our daemons begin lines of their
// output with it that PID 1 is to repeat.
const Prefix = "kios: "

// A system pod that writes to the kernel's log itself has PodPrefix, its name and a colon
// before its texts, of which each is cut after MaxPodText bytes.
const (
	PodPrefix  = "pod "
	MaxPodText = 400
)

// Kind says what a line is about.
type Kind int

const (
	Note     Kind = iota // Text
	Warning              // Text
	Error                // Text
	Step                 // the boot's step Name took Took
	Stop                 // the shutdown's step Name took Took
	Ready                // the daemon Name is ready
	Started              // Container of the pod Namespace/Pod runs
	Exited               // Container of the pod Namespace/Pod ended with Exit
	Imported             // the image archive Name was imported, which took Took
)

// Line is a line without the prefix. Fields that its kind does not name are zero.
type Line struct {
	Kind                      Kind
	Text                      string // one line, without control characters
	Name                      string
	Took                      time.Duration // in whole milliseconds
	Namespace, Pod, Container string
	Exit                      int
}

// Stopping begins the text of the Note that the node stops from now on, and who asks for that.
const Stopping = "stopping, as "

// NoteMark begins a text that a daemon has PID 1 repeat, and in which nothing is wrong. PID 1
// repeats any other as an error.
const NoteMark = "note: "

const (
	noteMark    = NoteMark
	warningMark = "warning: "
	errorMark   = "error: "
)

// Format returns the text of a line. Parse reads it back.
func Format(l Line) string {
	switch l.Kind {
	case Warning:
		return warningMark + l.Text
	case Error:
		return errorMark + l.Text
	case Step:
		return fmt.Sprintf("step %s %s", word(l.Name), milliseconds(l.Took))
	case Stop:
		return fmt.Sprintf("stop %s %s", word(l.Name), milliseconds(l.Took))
	case Ready:
		return word(l.Name) + " ready"
	case Started:
		return container(l) + " started"
	case Exited:
		return fmt.Sprintf("%s exited with code %d", container(l), l.Exit)
	case Imported:
		return fmt.Sprintf("image %s imported %s", word(l.Name), milliseconds(l.Took))
	}
	if note := (Line{Text: l.Text}); Parse(l.Text) != note {
		return noteMark + l.Text
	}
	return l.Text
}

func container(l Line) string {
	return fmt.Sprintf("pod %s/%s container %s", wordBefore('/', l.Namespace), word(l.Pod), word(l.Container))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", max(d, 0).Milliseconds()) }

// word returns a name, quoted unless it is a plain word.
func word(name string) string { return wordBefore(' ', name) }

// wordBefore returns a name that a character follows.
func wordBefore(end rune, name string) string {
	if name != "" && utf8.ValidString(name) && plainLength(name, end) == len(name) {
		return name
	}
	return strconv.Quote(name)
}

// plainLength returns how much of a text is a plain word: it ends before a blank, a
// quote, a control character, and before end.
func plainLength(text string, end rune) int {
	n := strings.IndexFunc(text, func(r rune) bool { return r == ' ' || r == '"' || r == end || !strconv.IsPrint(r) })
	if n < 0 {
		return len(text)
	}
	return n
}
