// Package terminal keeps a few lines at the bottom of a terminal that are redrawn
// in place, below lines that stay. Elsewhere, such as in a file or in a CI log,
// there are only the lines that stay.
//
// It knows one escape sequence for that, which all terminals have (ECMA-48: CUU
// and ED), and no colours.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Screen is where the lines are drawn. It is not safe for concurrent use.
type Screen struct {
	w     io.Writer
	width func() int // nil if it is no terminal
	drawn int        // lines at the bottom that are to be redrawn
}

// New returns the screen of a writer, which redraws lines if that is a terminal.
func New(w io.Writer) *Screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &Screen{w: w}
	}
	return NewTerminal(w, func() int {
		columns, _, _ := term.GetSize(int(f.Fd()))
		return columns
	})
}

// NewTerminal returns a screen that takes w for a terminal of so many columns; 0
// if it does not say.
func NewTerminal(w io.Writer, width func() int) *Screen { return &Screen{w: w, width: width} }

// Redraws reports whether lines at the bottom are shown at all.
func (s *Screen) Redraws() bool { return s.width != nil }

// Fit cuts a line to the width of the terminal: one that it wraps would be two.
// The line must hold no escape sequences.
func (s *Screen) Fit(line string) string {
	if s.width == nil {
		return line
	}
	runes, width := []rune(line), s.width()
	if width <= 0 || len(runes) <= width {
		return line
	}
	return string(runes[:width])
}

// Draw prints lines that stay, and below them the bottom, in place of the one
// that was drawn before.
func (s *Screen) Draw(stay, bottom []string) {
	var out strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\r\x1b[J", s.drawn) // up, and away with all below
	}
	if !s.Redraws() {
		bottom = nil
	}
	for _, lines := range [][]string{stay, bottom} {
		for _, line := range lines {
			out.WriteString(line + "\n")
		}
	}
	s.drawn = len(bottom)
	io.WriteString(s.w, out.String())
}

// End takes the bottom off the screen for good.
func (s *Screen) End() {
	s.Draw(nil, nil)
	s.width = nil
}

// OneLine makes one line of a text that may have several.
func OneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
