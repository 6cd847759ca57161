package terminal

import (
	"bytes"
	"testing"
)

func TestDraw(t *testing.T) {
	var out bytes.Buffer
	s := NewTerminal(&out, func() int { return 10 })
	s.Draw(nil, []string{"one", "two"})
	s.Draw([]string{"stays"}, []string{"three"})
	s.End()
	s.Draw([]string{"more"}, []string{"four"})
	const want = "one\ntwo\n" + "\x1b[2A\r\x1b[J" + "stays\nthree\n" + "\x1b[1A\r\x1b[J" + "more\n"
	if got := out.String(); got != want {
		t.Errorf("on a terminal: %q, want %q", got, want)
	}
}

func TestDrawElsewhere(t *testing.T) {
	var out bytes.Buffer
	s := New(&out)
	s.Draw([]string{"stays"}, []string{"one"})
	s.Draw(nil, []string{"two"})
	s.Draw([]string{"more"}, nil)
	if got, want := out.String(), "stays\nmore\n"; got != want || s.Redraws() {
		t.Errorf("in a file: %q, want %q", got, want)
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		width      int
		line, want string
	}{
		{5, "ab", "ab"},
		{5, "abcde", "abcde"},
		{5, "abcdef", "abcde"},
		{5, "äöüß€ x", "äöüß€"},
		{0, "abcdef", "abcdef"}, // it does not say
	} {
		s := NewTerminal(nil, func() int { return tt.width })
		if got := s.Fit(tt.line); got != tt.want {
			t.Errorf("Fit(%q) to %d = %q, want %q", tt.line, tt.width, got, tt.want)
		}
	}
	if got := New(&bytes.Buffer{}).Fit("abcdef"); got != "abcdef" {
		t.Errorf("Fit in a file = %q, want the whole line", got)
	}
}

func TestOneLine(t *testing.T) {
	if got, want := OneLine(" a\n\tb  c\r\n"), "a b c"; got != want {
		t.Errorf("OneLine = %q, want %q", got, want)
	}
}
