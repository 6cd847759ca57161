package bounded

import (
	"errors"
	"strings"
	"testing"

	"kios/test/lab"
)

func TestJSON(t *testing.T) {
	type inner struct {
		List []string `json:"list"`
		N    int      `json:"n"`
		On   bool     `json:"on"`
	}
	var v struct {
		Name string `json:"name"`
		Sub  inner  `json:"sub"`
	}
	lab.Must(t, JSON([]byte("\ufeff{\"name\": \"a\", \"unknown\": 1}"), &v))
	if v.Name != "a" {
		t.Errorf("JSON = %+v", v)
	}
	for text, want := range map[string]string{
		"{\n  \"name\": \"a\"\n  \"sub\": {}\n}": "line 3, column 3: invalid character",
		"{":                                      "line 1, column 1: unexpected end",
		"":                                       "line 1, column 1: unexpected end",
		"[]":                                     "a value is of the type array, and must be object",
		`{"sub": {"list": "a"}}`:                 "the field sub.list is of the type string, and must be array",
		`{"sub": {"n": "a"}}`:                    "the field sub.n is of the type string, and must be number",
		`{"sub": {"on": 123456}}`:                "the field sub.on is of the type number, and must be bool",
		`{"sub": {"list": [{}]}}`:                "the field sub.list is of the type object, and must be string",
		`{"name": "` + strings.Repeat("a", MaxText) + `"}`: "at most 1048576",
	} {
		if err := JSON([]byte(text), &v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("JSON(%.40q) = %v, want %q", text, err, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	var m Mistakes
	m.Add(nil)
	if err := m.Err(); err != nil {
		t.Errorf("without a mistake: %v", err)
	}
	for range 500_000 {
		m.Add(errors.New("x"))
	}
	if got := strings.Split(m.Err().Error(), "\n"); len(got) != maxMistakes+1 || got[maxMistakes] != "there are 499968 more mistakes" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte("{\n \"name\": 1"))
	f.Add([]byte("\ufeff{\"list\": [1, {}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v struct {
			Name string         `json:"name"`
			List []string       `json:"list"`
			Free map[string]any `json:"free"`
		}
		var err error
		if used := lab.Allocated(func() { err = JSON(text, &v) }); used > uint64(1<<20+500*len(text)) {
			t.Errorf("%d bytes of text allocate %d", len(text), used)
		}
		if err != nil && (len(err.Error()) > 400 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("the error is %q", err)
		}
	})
}
