package progress

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kios/host/terminal"
)

func TestLinesOfALog(t *testing.T) {
	var out bytes.Buffer
	l := New(&out)
	a, b := l.Start("kernel"), l.Start("kubelet")
	a.Set(3, 7)
	a.Note("objects")
	l.Print("a notice")
	failure := errors.New("no space")
	if err := b.End(failure); err != failure {
		t.Errorf("End returned %v", err)
	}
	_ = a.End(nil)
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.TrimSpace(line[strings.Index(line, "s ")+1:]))
	}
	want := []string{"a notice", "failed kubelet", "ok     kernel  3 of 7  objects"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// On a terminal, as its user sees it.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	l := &Log{screen: terminal.NewTerminal(&out, func() int { return 40 })}
	long := strings.Repeat("long ", 20)
	a, b := l.Start("kernel"), l.Start(long)
	l.draw(a, "...")
	wantScreen(t, out.String(), "... kernel", "... "+long[:40-len("    0.0s  ...    ")])
	l.Print("a notice")
	_ = a.End(nil)
	c := l.Start("kubelet")
	l.draw(c, "...")
	wantScreen(t, out.String(), "a notice", "ok kernel", "... "+long[:40-len("    0.0s  ...    ")], "... kubelet")
	_ = b.End(nil)
	_ = c.End(nil)
	l.Print("more")
	wantScreen(t, out.String(), "a notice", "ok kernel", "ok "+long, "ok kubelet", "more")
}

// wantScreen checks the ends of a screen's lines, of which spaces count as one.
func wantScreen(t *testing.T, written string, want ...string) {
	t.Helper()
	got := screen(written)
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d: %q", len(got), len(want), got)
	}
	for i, line := range got {
		if !strings.HasSuffix(strings.Join(strings.Fields(line), " "), strings.TrimSpace(want[i])) {
			t.Errorf("line %d is %q, want %q at its end", i, line, want[i])
		}
	}
}

// screen does what a terminal does with the few things that we write to it.
func screen(written string) (lines []string) {
	up := regexp.MustCompile(`^\x1b\[(\d+)A\r\x1b\[J`)
	for written != "" {
		if m := up.FindStringSubmatch(written); m != nil {
			n, _ := strconv.Atoi(m[1])
			lines = lines[:len(lines)-n]
			written = written[len(m[0]):]
			continue
		}
		line, rest, _ := strings.Cut(written, "\n")
		lines, written = append(lines, line), rest
	}
	return lines
}
