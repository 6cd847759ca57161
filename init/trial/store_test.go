package trial

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

var kubelet = Sources{Names: []string{"kubernetes/config.yaml", "kubernetes/config.d/*.yaml", "kubernetes/node-labels"}}

func newStore(t *testing.T) Store {
	dir := t.TempDir()
	return Store{Dir: filepath.Join(dir, "run", "kubelet"), File: filepath.Join(dir, "kubelet-files.json")}
}

func wantKept(t *testing.T, s Store, want Set) {
	t.Helper()
	got, err := s.Load()
	if err != nil || !got.Equal(want) {
		t.Errorf("Load = %q, %v, want %q", names(got), err, names(want))
	}
	if files := s.fromDir(); !files.Equal(want) {
		t.Errorf("the directory has %q, want %q", names(files), names(want))
	}
}

func TestStore(t *testing.T) {
	s := newStore(t)
	if set, err := s.Load(); len(set) != 0 || err != nil {
		t.Errorf("Load of nothing = %v, %v", set, err)
	}
	first := kubelet.Read(etcWith(t, map[string]string{"kubernetes/config.yaml": "a", "kubernetes/config.d/x.yaml": "b"}))
	second := kubelet.Read(etcWith(t, map[string]string{"kubernetes/config.yaml": "\x00\xff", "kubernetes/node-labels": ""}))
	for _, set := range []Set{first, second, {}} {
		lab.Must(t, s.Save(set))
		wantKept(t, s, set)
		lab.Must(t, os.RemoveAll(s.Dir)) // the next boot
		wantKept(t, s, set)
	}
	if err := filepath.WalkDir(filepath.Dir(s.File), func(path string, e fs.DirEntry, err error) error {
		if info, err := e.Info(); err == nil && path != filepath.Dir(s.File) && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read what a user configured", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What was kept in memory goes along onto a data partition that comes later, unless that
// has something of its own.
func TestStoreMoves(t *testing.T) {
	s := newStore(t)
	set := kubelet.Read(etcWith(t, map[string]string{"kubernetes/config.yaml": "in memory"}))
	lab.Must(t, Store{Dir: s.Dir}.Save(set))
	wantKept(t, s, set)
	lab.Must(t, os.RemoveAll(s.Dir))
	wantKept(t, s, set)
	lab.Must(t, Store{Dir: s.Dir}.Save(kubelet.Read(etcWith(t, map[string]string{"kubernetes/config.yaml": "newer, in memory"}))))
	wantKept(t, s, set)
}

// A file that somebody has damaged is as good as none.
func TestStoreOfADamagedFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "unexpected end",
		"{":                            "unexpected end",
		`{"../../etc/passwd": "eA=="}`: `holds the name "../../etc/passwd"`,
		`{"a": "not Base64"}`:          "illegal base64",
	} {
		s := newStore(t)
		lab.WriteFile(t, s.File, text)
		if set, err := s.Load(); len(set) > 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load of %q = %q, %v, want an error with %q", text, names(set), err, want)
		}
	}
}
