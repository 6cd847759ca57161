package main

import (
	"fmt"
	"slices"
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

// deep is the start of a dotted key of very many parts.
func deep(end string) string { return strings.Repeat("a.", 2400) + end }

// Files that take long to decode, or to look for, are named and left out.
func TestHostileFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, line string }{
		"lists in lists": {v4 + "a = " + strings.Repeat("[", 200_000), "nested"},
		"dotted key":     {v4 + strings.Repeat("a.", 100_000) + "a = 1\n", "nested more than 20 deep"},
		"dotted table":   {v4 + "[" + strings.Repeat("a.", 100_000) + "a]\nb = 1\n", "nested more than 20 deep"},
		"deep key":       {v4 + deep("a = 1\n"), "nested more than 20 deep"},
		"deep table":     {v4 + "[" + deep("a]\n"), "nested more than 20 deep"},
		"quoted key":     {v4 + `"=".` + deep("a = 1\n"), "nested more than 20 deep"},
		"inline table":   {v4 + "x = {" + deep("a = 1}\n"), "nested more than 20 deep"},
		"in a list":      {v4 + "x = [\n'a',\n{" + deep("a = 1}\n]\n"), "nested more than 20 deep"},
		"key of a table": {v4 + "[" + strings.Repeat("a.", 14) + "a]\nx.x.x = {x.x.x = 1}\n", "nested more than 20 deep"},
		"inline tables":  {v4 + "x = " + strings.Repeat("{a = ", 3000) + "1" + strings.Repeat("}", 3000) + "\n", "nested more than 20 deep"},
		"wide table":     {v4 + "x = {" + many("a%d = 1, ", 15_000) + "z = 1}\n", "more than 5000 keys"},
		"list of tables": {v4 + "x = [" + strings.Repeat("{},", 80_000) + "]\n", "more than 5000 keys"},
		"many tables":    {v4 + strings.Repeat("[[x]]\n", 40_000), "more than 5000 keys"},
		"many deep keys": {v4 + many("b%d.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1\n", 3000), "more than 5000 keys"},
		"fault at end":   {v4 + "x = {" + deep("a = 1} x\n"), "row 2"},
		"unknown keys":   {v4 + many("a%d = 1\n", 15_000), "more than 5000 keys"},
		"tables":         {v4 + many("[plugins.a%d]\n", 15_000), "more than 5000 keys"},
		"too large":      {v4 + "# " + strings.Repeat("x", 300_000), "bytes"},
		"all files":      {"imports = ['conf/*/*/*.toml']\n" + v4, "looking for it takes long"},
		"any files":      {"imports = ['conf/?/[a-z]*/*.toml']\n" + v4, "looking for it takes long"},
		"many patterns":  {"imports = [" + many("'conf/*/a%d*.toml',", 10_000) + "]\n" + v4, "there are more than 64"},
		"long import":    {"imports = ['" + strings.Repeat("a/", 5000) + "']\n" + v4, "longer than a path can be"},
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

// The bounds hold for all files together.
func TestManyHostileFiles(t *testing.T) {
	for name, text := range map[string]string{"keys": many("a%d = 1\n", 3000), "bytes": "# " + strings.Repeat("x", 200_000) + "\n"} {
		files := []string{userconfig.Main, v4 + "imports = ['conf.d/*.toml']\noom_score = -1\n"}
		for i := range 50 {
			files = append(files, fmt.Sprintf("containerd/conf.d/%02d.toml", i), v4+text)
		}
		config, lines := check(t, etcWith(t, files...))
		refused := slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "with the files before it, it has more than") })
		if config == nil || config.OOMScore != -1 || len(refused) != 49 || !strings.Contains(refused[0], "01.toml: ") {
			t.Errorf("%s: %d lines, %.300q, want all but the first file left out", name, len(refused), refused)
		}
	}
}

// What only looks as if it took long is used.
func TestHarmlessFiles(t *testing.T) {
	for name, text := range map[string]string{
		"a comment":   v4 + "# " + strings.Repeat(".", 3000) + " = 1\noom_score = -1 # " + strings.Repeat("a.", 300) + "a = 1\n",
		"texts":       v4 + "oom_score = -1\nx = [\n" + many("  \"a%d=1\",\n", 5100) + "]\n",
		"long text":   v4 + "oom_score = -1\nx = \"\"\"\n" + many("a%d.a = 1\n[a]\n", 5100) + "\"\"\"\n",
		"two stars":   v4 + "imports = ['conf-*-v*/*-*.toml']\n",
		"two classes": v4 + "imports = ['[a-z]*-?-v*/*-*.toml']\n",
		"many tables": v4 + "oom_score = -1\n" + many("[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'r%d.example.org']\nendpoint = []\n", 400),
	} {
		t.Run(name, func(t *testing.T) {
			etc := etcWith(t, userconfig.Main, text, "containerd/conf-x-v1/my-own.toml", v4+"oom_score = -1\n")
			config, lines := check(t, etc)
			if config == nil || config.OOMScore != -1 {
				t.Errorf("config %v, lines = %.300q, want the file used", config != nil, lines)
			}
		})
	}
}
