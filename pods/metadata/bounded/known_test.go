package bounded

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type document struct {
	Name string         `json:"name"`
	Free map[string]any `json:"free"`
	Sub  struct {
		List []string `json:"list"`
	} `json:"sub"`

	Items []struct {
		Name string `json:"name"`
	} `json:"items"`
	Pointer *struct{} `json:"pointer"`
	hidden  string
}

func TestKnown(t *testing.T) {
	tests := []struct {
		text    string
		unknown []string
	}{
		{"name: a\nfree: {x: {y: 1}}\nsub: {list: [b]}\n", nil},
		{"", nil},
		{"---\r\nname: a\r\n---\r\n# nothing\r\n", nil},
		{"--- \nname: a\n--- \nname: b\n", []string{`doc: "---" and what follows it are not used`}},
		{"items: [{name: a, nmae: b}]\npointer: {x: 1}\n", []string{`doc: the field "items.nmae" is unknown`, `doc: the field "pointer.x" is unknown`}},
		{"Name: a\nsub: {lists: [b], '': c}\nhidden: x\n", []string{`doc: the field "Name" is unknown`, `doc: the field "hidden" is unknown`, `doc: the field "sub." is unknown`, `doc: the field "sub.lists" is unknown`}},
	}
	for _, tt := range tests {
		var d document
		unknown, err := Known("doc", []byte(tt.text), &d)
		if diff := cmp.Diff(tt.unknown, unknown); err != nil || diff != "" || d.hidden != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tt.text, err, diff)
		}
	}
	if got := Remarks("doc", []byte("a: 1\nb: {c: 1, c: 2}\n'a': 2\n")); !cmp.Equal(got, []string{`doc: line 2: the field "c" is there twice: the last one counts`, `doc: line 3: the field "a" is there twice: the last one counts`}) {
		t.Errorf("Remarks = %q", got)
	}
	if got := Remarks("doc", []byte("a: &a {c: 1}\nb: {<<: *a, c: 2}\n")); got != nil {
		t.Errorf("Remarks of a merge = %q", got)
	}
	if got := Remarks("doc", []byte(strings.Repeat("a: 1\n", 1000))); len(got) != maxUnknown+1 {
		t.Errorf("%d remarks", len(got))
	}
	many, err := Known("doc", []byte("x"+strings.Repeat("x", 300)+": 1\n"+strings.Repeat("a", 1)+": 1\n"), &document{})
	if err != nil || len(many) != 2 || len(many[1]) > 300 {
		t.Errorf("%q, %v", many, err)
	}
}

func TestKnownErrors(t *testing.T) {
	for text, want := range map[string]string{
		"sub: {list: a}\n": "the field sub.list is a string, but must be a list",
		"sub: a\n":         "the field sub is a string, but must be a map of fields",
		"- a\n":            "the whole is an array, but must be a map",
		"#!/bin/sh\nls":    "the whole is a string, but must be a map",
		"a: [\n":           "line 1",
	} {
		if _, err := Known("doc", []byte(text), &document{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.HasPrefix(err.Error(), "doc") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
