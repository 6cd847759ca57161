package yamldoc

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, text string
		want       map[string]any
		more       bool
	}{
		{"nothing", "", nil, false},
		{"comments", "# nothing\n---\n", nil, false},
		{"values", "a: {b: [1, 1.5, x, true, null]}\n", map[string]any{"a": map[string]any{"b": []any{1, 1.5, "x", true, nil}}}, false},
		{"JSON", `{"a": 9007199254740993, "b": "é"}`, map[string]any{"a": 9007199254740993, "b": "é"}, false},
		{"Windows", "---\r\na: x\r\nb: |\r\n  one\r\n  two\r\n", map[string]any{"a": "x", "b": "one\ntwo\n"}, false},
		{"twice", "a: 1\na: 2\n", map[string]any{"a": 2}, false},
		{"keys", "1: a\ntrue: b\n", map[string]any{"1": "a", "true": "b"}, false},
		{"aliases", "a: &x [1]\nb: *x\n", map[string]any{"a": []any{1}, "b": []any{1}}, false},
		{"a date", "a: 2026-01-02\n", map[string]any{"a": "2026-01-02"}, false},
		{"two", "a: 1\n---\nb: 2\n", map[string]any{"a": 1}, true},
		{"an end", "---\na: 1\n---\n", map[string]any{"a": 1}, false},
	}
	for _, tt := range tests {
		got, more, err := Parse([]byte(tt.text))
		if diff := cmp.Diff(tt.want, got); err != nil || more != tt.more || diff != "" {
			t.Errorf("%s: more %v, %v (-want +got):\n%s", tt.name, more, err, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a list", "- a\n", "it is a list, and must be a map of fields"},
		{"a script", "#!/bin/sh\necho hello\n", "it is a string"},
		{"broken", "a: [\n", "line 1"},
		{"binary", "a\x00", "binary data"},
		{"too long", strings.Repeat("#", Max+1), "262145 bytes"},
		{"too deep", "a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "more than 64 deep"},
		{"a key", "? [a]\n: b\n", "key"},
		{"no number", "a: .nan\n", "not a number"},
		{"bombs", bomb(), "excessive aliasing"},
		{"a long string", longString(), "unfold to more than"},
	}
	for _, tt := range tests {
		_, _, err := Parse([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q in a line", tt.name, err, tt.want)
		}
	}
}

// bomb has aliases of aliases.
func bomb() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 10))
	}
	return text
}

// longString has an alias of a string, many times.
func longString() string {
	return "a: &a " + strings.Repeat("x", 100<<10) + "\nb: [" + strings.Repeat("*a,", 30<<10) + "]\n"
}

// The worst that fits takes some tens of megabytes.
func TestMemoryIsBounded(t *testing.T) {
	for _, text := range []string{bomb(), longString(), "a: [" + strings.Repeat("a,", Max/2-4) + "]", strings.Repeat("? \n", Max/3)} {
		if used := allocated(func() { Parse([]byte(text)) }); used > 256<<20 {
			t.Errorf("%.20q took %d MiB", text, used>>20)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "a: &x [1]\nb: *x\n", bomb(), "a: {b: [1, 1.5, x, true, null]}\n---\nb: 2\n", "<<: *a", "a: &a\n  <<: *a\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, _, err := Parse(text)
		if err != nil {
			return
		}
		if out, err := json.Marshal(doc); err != nil || len(out) > 8*maxUnfolded {
			t.Errorf("%d bytes of JSON, %v", len(out), err)
		}
	})
}
