package console

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"kios/internal/consoleline"
)

// Colours of a terminal (ECMA-48, 8.3.117).
const (
	plain  = ""
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// Printer prints a boot as it happens, one line an event: seconds since
// power-on, who speaks, and what. It is safe for concurrent use.
type Printer struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
}

// NewPrinter returns a Printer that uses colour if w is a terminal and the
// environment does not ask otherwise (https://no-color.org).
func NewPrinter(w io.Writer) *Printer {
	f, ok := w.(*os.File)
	return &Printer{w: w, colour: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

// Event prints an event that happened at the given time since power-on.
func (p *Printer) Event(at time.Duration, e Event) {
	who, text, colour := Describe(e)
	p.line(at, who, text, colour)
}

// Note prints a remark of the host.
func (p *Printer) Note(at time.Duration, format string, args ...any) {
	p.line(at, "host", fmt.Sprintf(format, args...), bold)
}

// Problem prints a remark of the host that asks for attention.
func (p *Printer) Problem(at time.Duration, format string, args ...any) {
	p.line(at, "host", fmt.Sprintf(format, args...), yellow)
}

// Block prints text of several lines as it is.
func (p *Printer) Block(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(p.w, text)
}

func (p *Printer) line(at time.Duration, who, text, colour string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := ""
	if !p.colour {
		colour = plain
	}
	if colour != plain {
		end = reset
	}
	fmt.Fprintf(p.w, "%8.2fs  %s%-10s  %s%s\n", at.Seconds(), colour, who, text, end)
}

// Describe returns who speaks, what the line says, and its colour: an escape
// sequence, or nothing.
func Describe(e Event) (who, text, colour string) {
	switch e.Kind {
	case Other:
		return "", e.Text, dim
	case Kernel:
		return "kernel", e.Text, dim
	case Version:
		return "kernel", "Linux " + e.Name, plain
	case Panic:
		return "kernel", e.Text, red
	case PowerDown, Restart:
		return "kernel", e.Text, plain
	case Step:
		return "init", e.Name + took(e.Took), plain
	case Ready:
		return e.Name, "ready", green
	case Started:
		return "pod", fmt.Sprintf("%s/%s: container %s runs", e.Namespace, e.Pod, e.Container), green
	case Exited:
		return "pod", fmt.Sprintf("%s/%s: container %s ended with exit code %d", e.Namespace, e.Pod, e.Container, e.Exit), exitColour(e.Exit)
	case Imported:
		return "image", path.Base(e.Name) + " imported" + took(e.Took), plain
	case Warning:
		return says(e.Text, "warning: ", yellow)
	case Problem:
		return says(e.Text, "error: ", red)
	}
	return "init", e.Text, plain
}

// says returns what PID 1 says, or a pod.
func says(text, mark, colour string) (string, string, string) {
	if rest, ofPod := strings.CutPrefix(text, consoleline.PodPrefix); ofPod {
		return "pod", mark + rest, colour
	}
	return "init", mark + text, colour
}

func exitColour(code int) string {
	if code == 0 {
		return plain
	}
	return yellow
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("  (%d ms)", d.Round(time.Millisecond).Milliseconds())
}
