package main

import (
	"fmt"
	"strings"
	"testing"

	"kios/upstream/containerd/userconfig"
)

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Files that take long to decode, or to look for, are named and left out.
func TestHostileFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, line string }{
		"lists in lists": {v4 + "a = " + strings.Repeat("[", 200_000), "nested"},
		"dotted key":     {v4 + strings.Repeat("a.", 100_000) + "a = 1\n", "a key of more than"},
		"dotted table":   {v4 + "[" + strings.Repeat("a.", 100_000) + "a]\nb = 1\n", "a key of more than"},
		"unknown keys":   {v4 + many("a%d = 1\n", 15_000), "more than 5000 keys"},
		"tables":         {v4 + many("[plugins.a%d]\n", 15_000), "more than 5000 keys"},
		"too large":      {v4 + "# " + strings.Repeat("x", 300_000), "bytes"},
		"all files":      {"imports = ['conf/*/*/*.toml']\n" + v4, "looking for it takes long"},
		"NUL":            {v4 + "root = \"a\x00b\"\n", "row 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, lines := check(t, etcWith(t, userconfig.Main, tt.text))
			if len(lines) != 1 || !strings.Contains(lines[0], tt.line) || len(lines[0]) > 1000 {
				t.Errorf("lines = %.300q, want one with %q", lines, tt.line)
			}
		})
	}
}
