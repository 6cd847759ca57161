package bounded

import (
	"strings"
	"testing"

	"kios/test/lab"
)

func TestWhole(t *testing.T) {
	var v struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	lab.Must(t, Whole([]byte(`{"path": "a", "Content": "b"}`), &v))
	if v.Path != "a" || v.Content != "b" {
		t.Errorf("Whole = %+v", v)
	}
	for text, want := range map[string]string{
		`{"path": 1}`:           "the field path is of the type number",
		`{"contents": ""}`:      `the field "contents" is unknown: did you mean "content"?`,
		`{"interfaces": {}}`:    `the field "interfaces" is unknown`,
		`{"pth": "", "zzz": 1}`: `the field "pth" is unknown: did you mean "path"?`,
	} {
		if err := Whole([]byte(text), &v); err == nil || err.Error() != want && !strings.HasPrefix(err.Error(), want+",") {
			t.Errorf("Whole(%s) = %v, want %q", text, err, want)
		}
	}
	if got := Unknown([]byte(`{"a": 1}`), new(map[string]int)); got != nil {
		t.Errorf("Unknown for a map = %q", got)
	}
}

func TestMeant(t *testing.T) {
	known := []string{"bootcmd", "ntp", "runcmd", "write_files"}
	for name, want := range map[string]string{
		"write_file": "write_files", "write-files": "write_files", "writefiles": "write_files", "run_cmd": "runcmd", "ntpd": "ntp",
		"": "", "x": "", "bootstrap": "", "apt": "", strings.Repeat("ntp", 99): "",
	} {
		if got := Meant(name, known); got != "" != (want != "") || !strings.Contains(got, want) {
			t.Errorf("Meant(%.20q) = %q, want %q", name, got, want)
		}
	}
}
