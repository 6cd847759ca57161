package pstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kios/test/lab"
)

func TestMove(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dmesg-efi_pstore-1": "Panic#1 Part1\n<0>[   1.5] Kernel panic - not syncing: Attempted to kill init!\n<0>[   1.6] Rebooting",
		"dmesg-efi_pstore-2": "Panic#1 Part2\n<6>[   1.1] usb 1-1: new device\n",
		"dmesg-efi_pstore-3": "Panic#1 Part3\n<6>[   1.0] full disk\n",
		"dmesg-erst-4":       string(bytes.Repeat([]byte{'x'}, maxRecord+1)),
	} {
		lab.WriteFile(t, filepath.Join(dir, name), text)
	}
	var got []Record
	full := errors.New("full")
	moved, err := Move(dir, func(r Record) error {
		if r.Name == "dmesg-efi_pstore-3" {
			return full
		}
		got = append(got, r)
		return nil
	})
	if moved != 3 || !errors.Is(err, full) || len(got) != 3 {
		t.Fatalf("Move = %d, %v with %d records", moved, err, len(got))
	}
	for i, want := range []string{"Kernel panic - not syncing: Attempted to kill init!", "<6>[   1.1] usb 1-1: new device"} {
		if words := got[i].Words(); words != want {
			t.Errorf("%s: %q, want %q", got[i].Name, words, want)
		}
	}
	if size := len(got[2].Text); size != maxRecord+1 || got[2].Text[size-1] != '\n' { // and a line's end
		t.Errorf("of a large record %d bytes were read", size)
	}
	// What could not be kept is there for the next boot.
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "dmesg-efi_pstore-3" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWordsOfNothing(t *testing.T) {
	if got := (Record{}).Words(); got != "" {
		t.Errorf("Words = %q", got)
	}
}

// Of records that stay, the newest do.
func TestTrim(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprintf("dmesg-efi_pstore-%d", 9-i))
		lab.WriteFile(t, path, "x")
		lab.Must(t, os.Chtimes(path, time.Time{}, time.Unix(int64(1000+i), 0)))
	}
	for _, tt := range [][2]int{{5, 0}, {2, 3}} {
		if removed, err := Trim(dir, tt[0]); err != nil || removed != tt[1] {
			t.Errorf("Trim to %d removed %d, %v, want %d", tt[0], removed, err, tt[1])
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "dmesg-efi_pstore-5" || left[1].Name() != "dmesg-efi_pstore-6" {
		t.Errorf("left: %v, %v", left, err)
	}
}
