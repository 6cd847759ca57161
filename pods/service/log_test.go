package service

import (
	"bytes"
	"log"
	"testing"
)

// No name from outside is an entry of its own, or tells a terminal anything.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	l := log.New(Lines(&out), "", 0)
	l.Print("the name \x1b]0;x\x07 is\rnot used\nwrote /etc/hostname\n")
	l.Print("a\tb \u009b \xff")
	const want = "the name ]0;x isnot used\n    wrote /etc/hostname\na b  ?\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
