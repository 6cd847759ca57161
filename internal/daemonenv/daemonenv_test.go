package daemonenv

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	goyaml "go.yaml.in/yaml/v2"

	"kios/test/lab"
)

func read(t *testing.T, text, daemon string) (variables []string, bad string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "environment.yaml")
	lab.Must(t, os.WriteFile(path, []byte(text), 0o644))
	variables, err := Read(path, daemon)
	if err != nil {
		bad = strings.ReplaceAll(err.Error(), path, "FILE")
	}
	return variables, bad
}

func TestRead(t *testing.T) {
	const head = "environment:\n"
	for _, tt := range []struct {
		name, text string
		want       []string // of the kubelet
		bad        string   // on one line, "" for none
	}{
		{"empty", "\n# nothing\n", nil, ""},
		{"both", "---\n" + head + "  HTTPS_PROXY: http://p:3128 # ours\n  NO_PROXY: \"10.0.0.0/8,.x\" # all\n  A: 'it''s'\n  B:\n",
			[]string{"A=it's", "B=", "HTTPS_PROXY=http://p:3128", "NO_PROXY=10.0.0.0/8,.x"}, ""},
		{"of one", head + "  A: a\n  B: b\nkubelet:\n  B: k\ncontainerd:\n  A: c\n", []string{"A=a", "B=k"}, ""},
		{"as it is written", head + "  A: 010\n  B: yes\n  C: 1.0\n", []string{"A=010", "B=yes", "C=1.0"}, ""},
		{"no value", head + "  A: ~\n  B: null # none\n  C: 'null'\n", []string{"A=", "B=", "C=null"}, ""},
		{"none", "environment: {}\n", nil, ""},
		{"the last one", head + "  A: a\n  A: b\n", []string{"A=b"}, ""},
		{"refused", head + "  PATH: /x\n  B: b\n", []string{"B=b"}, "FILE, line 2 is left out: PATH cannot be set: the daemons find"},
		{"of PID 1", head + "  LISTEN_FDS: 3\n", nil, "LISTEN_FDS cannot be set"},
		{"no name", head + "  A-B: x\n", nil, `"A-B" is no name of a variable`},
		{"two lines", head + `  A: "a\nb"` + "\n", nil, "A: the value has more than one line"},
		{"a block", head + "  A: |\n", nil, "is no text in one line"},
		{"another key", "proxy:\n", nil, `"proxy" is none of environment, containerd, kubelet`},
		{"a variable of nobody", "  A: b\n", nil, `"A" is below none of`},
		{"no colon", head + "  A=b\n", nil, "has no colon"},
		{"no end", head + "  A: \"b\n", nil, "is no text in quotes"},
		{"beside it", "environment: A=b\n", nil, "put the variables of environment below it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, bad := read(t, tt.text, "kubelet")
			if !slices.Equal(got, tt.want) || !strings.Contains(bad, tt.bad) || (bad == "") != (tt.bad == "") || strings.Contains(bad, "\n") {
				t.Errorf("variables %q, %q; want %q, %q", got, bad, tt.want, tt.bad)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	got, bad := read(t, "environment:\n"+strings.Repeat("  PATH: x\n", 100), "kubelet")
	if lines := strings.Count(bad, "\n") + 1; len(got) != 0 || lines != maxBad+1 {
		t.Errorf("%d variables, %d lines", len(got), lines)
	}
	var many strings.Builder
	for i := range 100 {
		many.WriteString("  V" + strings.Repeat("x", i) + ": y\n")
	}
	if got, bad := read(t, "environment:\n"+many.String(), "kubelet"); len(got) != maxCount || !strings.Contains(bad, "more than 64 variables") {
		t.Errorf("%d variables, %s", len(got), bad)
	}
	if got, bad := read(t, strings.Repeat("#", maxFile+1), "kubelet"); got != nil || !strings.HasPrefix(bad, "FILE is not used: it is too large") {
		t.Errorf("variables %q, %s", got, bad)
	}
	if got, err := Read(filepath.Join(t.TempDir(), "none"), "kubelet"); got != nil || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
}

// What is read as a variable, YAML reads alike: as the text that is written, so 010 is
// not 8. (goyaml leaves texts as they are.)
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"environment:\n  A: b # c\n  B: \"x\\t\"\n  C: 'd''e'\nkubelet:\n  A: z\n", "environment: {}\n", "environment:\n  A: {\n", "environment:\n  A: b: c\n", "environment:\n  A: ~\n  B: null\n  C: 1e3\n  D: 0x1_0\n  E: 2001-01-01\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, bad := read(t, text, "kubelet")
		if len(got) > maxCount || strings.Count(bad, "\n") > maxBad {
			t.Fatalf("%d variables, %q", len(got), bad)
		}
		var file map[string]map[string]string
		if bad != "" || goyaml.Unmarshal([]byte(text), &file) != nil {
			return
		}
		for _, variable := range got {
			name, value, _ := strings.Cut(variable, "=")
			want, ok := file["kubelet"][name]
			if !ok {
				want = file["environment"][name]
			}
			if value != want {
				t.Errorf("%s is %q, and %q in YAML, of %q", name, value, want, text)
			}
		}
	})
}
