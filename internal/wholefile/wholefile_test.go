package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, want := range []struct {
		text string
		mode os.FileMode
	}{{"old", 0o666}, {"new", 0o600}} {
		if err := Write(path, []byte(want.text), want.mode); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != want.text || info.Mode() != want.mode {
			t.Errorf("file = %q, %v, %v, want %q with mode %v", got, info.Mode(), err, want.text, want.mode)
		}
	}
	if err := Write(filepath.Join(dir, "missing/a"), nil, 0o600); err == nil {
		t.Error("Write into a directory that is not there succeeds")
	}
	// Over a directory, a rename fails: nothing is left beside it.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "d"), nil, 0o600); err == nil {
		t.Error("Write over a directory succeeds")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}
