//go:build root

package boot

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kios/init/mount"
	"kios/internal/logfile"
	"kios/internal/wholefile"
	"kios/test/lab"
)

// cuts are what PID 1 does to files, and whether that outlives a power cut right after it.
// The ones that do not show that the cut loses what is not synced.
var cuts = []struct {
	name string
	do   func(dir, file string) error
	want string // of the file, "" for none
}{
	{"no sync", func(_, file string) error { return os.WriteFile(file, []byte("new\n"), 0o644) }, ""},
	{"volatile", func(_, file string) error { return wholefile.Volatile(file, []byte("new\n"), 0o644) }, "old\n"},
	{"removed without sync", func(_, file string) error { return os.Remove(file) }, "old\n"},
	{"a name is set", func(_, file string) error { return writeHostname(file, "new") }, "new\n"},
	{"a name is removed", func(_, file string) error { return writeHostname(file, "") }, ""},
	{"the kernel's last words", func(_, file string) error {
		return logfile.New(file, 1<<20, 2).Save([]byte("words\n"))
	}, "old\nwords\n"},
	{"the node stops", func(dir, file string) error {
		infos, err := mount.List()
		info, found := mount.Find(infos, dir)
		if err != nil || !found {
			return errors.Join(err, os.ErrNotExist)
		}
		return errors.Join(os.WriteFile(file, []byte("new\n"), 0o644), syncDisks([]mount.Info{info}, map[string]bool{}))
	}, "new\n"},
}

func TestPowerCut(t *testing.T) {
	for _, tt := range cuts {
		t.Run(tt.name, func(t *testing.T) {
			disk := lab.NewExt4(t)
			file := filepath.Join(disk.Dir, "hostname")
			if tt.name != "no sync" {
				lab.Must(t, wholefile.Durable(file, []byte("old\n"), 0o644))
			}
			lab.Must(t, tt.do(disk.Dir, file))
			disk.Cut()
			got, err := os.ReadFile(file)
			if string(got) != tt.want || (err != nil) != (tt.want == "") && tt.name != "no sync" {
				t.Errorf("after the cut the file holds %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
