//go:build root

package main

import (
	"path/filepath"
	"testing"

	"kios/test/lab"
)

// A record that was called synced is there after a power cut: tests of nodes rely on it.
func TestRecordsOutliveAPowerCut(t *testing.T) {
	disk := lab.NewExt4(t)
	file := filepath.Join(disk.Dir, "records")
	for want := 0; want < 9; want += 3 {
		r := openRecords(file)
		if r.last != want {
			t.Fatalf("after the cut there are %d records, want %d", r.last, want)
		}
		for range 3 {
			r.append()
		}
		lab.Must(t, r.file.Close())
		disk.Cut()
	}
}
