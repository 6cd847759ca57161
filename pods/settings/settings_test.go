package settings

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/internal/userfile"
	"kios/test/lab"
)

type shape struct {
	Name string   `json:"name"`
	Size int      `json:"size"`
	List []string `json:"list"`
	Sub  struct {
		Up bool `json:"up"`
	} `json:"sub"`
}

func TestParse(t *testing.T) {
	tests := []struct{ text, want string }{
		{"name: a\nsize: 3\nlist: [x, y]\nsub: {up: true}\n", ""},
		{"", ""},
		{"# nothing\n", ""},
		{"nmae: a\n", `there is no field "nmae"`},
		{"sub: {down: true}\n", `there is no field "down"`},
		{"size: big\n", "the field size is a string, but must be a whole number"},
		{"list: x\n", "the field list is a string, but must be a list"},
		{"sub: {up: 3}\n", "the field sub.up is a number, but must be true or false"},
		{"name: a\nname: b\n", `"name" is there twice`},
		{"- a\n", "the whole is an array, but must be a map of fields"},
		{"a: [\n", "line 1"},
		{"name: {}\n", "the field name is an object, but must be a string"},
		{"sub:\n  up: true\n name: a\n", "did not find expected key (this line or the one before is indented"},
		{"list:\n- a\n name: b\n", "(this line or the one before is indented"},
		{"name: a\n  size: 1\n", "(this line or the one before is indented"},
		{"sub:\n\tup: true\n", "line 2: found character that cannot start any token (a tab does not indent"},
		{"name: @a\n", "begins with @"},
		{"name: a\nsize\nlist: []\n", "a colon and a space"},
		{"\x00\x01", "it contains binary data"},
	}
	for _, tt := range tests {
		var v shape
		err := Parse("/etc/kios/x.yaml", []byte(tt.text), &v)
		if tt.want == "" {
			if err != nil {
				t.Errorf("Parse(%q) = %v", tt.text, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "/etc/kios/x.yaml") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q) = %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	v := shape{Size: 7}
	if err := Read(path, &v); err != nil || v.Size != 7 {
		t.Errorf("Read of no file = %v, %+v", err, v)
	}
	lab.WriteFile(t, path, "name: a\n")
	if err := Read(path, &v); err != nil || v.Name != "a" || v.Size != 7 {
		t.Errorf("Read = %v, %+v", err, v)
	}
	if err := Read(filepath.Dir(path), &v); err == nil {
		t.Error("Read of a directory succeeds")
	}
}

// A FIFO that nobody writes to would keep the pod waiting for ever.
func TestReadOfNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "time.yaml")
	lab.Must(t, unix.Mkfifo(path, 0o600))
	if err := Read(path, &struct{}{}); !errors.Is(err, userfile.ErrNoFile) {
		t.Errorf("Read = %v, want %v", err, userfile.ErrNoFile)
	}
}
