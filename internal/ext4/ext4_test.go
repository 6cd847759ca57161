package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"os"

	"kios/test/lab"
)

// super returns a superblock at its place, with a state and features.
func super(state, compat byte) []byte {
	b := make([]byte, 2048)
	s := b[1024:]
	binary.LittleEndian.PutUint16(s[0x38:], magic)
	s[0x3a], s[0x5c] = state, compat
	return b
}

func TestSound(t *testing.T) {
	for _, tt := range []struct {
		name          string
		state, compat byte
		want          bool
	}{
		{"clean, journal", 1, 4, true},
		{"clean, no journal", 1, 0, true},
		{"mounted when power went, journal", 0, 4, true},
		{"mounted when power went, no journal", 0, 0, false},
		{"errors", 3, 4, false},
	} {
		sb, err := Read(bytes.NewReader(super(tt.state, tt.compat)), 0)
		if err != nil || sb.Sound != tt.want {
			t.Errorf("%s: %+v, %v, want sound %v", tt.name, sb, err, tt.want)
		}
	}
	if _, err := Read(bytes.NewReader(make([]byte, 2048)), 0); !errors.Is(err, ErrNone) {
		t.Errorf("Read of zeros = %v, want %v", err, ErrNone)
	}
}

// What mke2fs writes is read.
func TestRead(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	lab.Must(t, errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 8<<20)))
	mkfs := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "kios-data", "-U", "01020304-0506-0708-090a-0b0c0d0e0f10", image)
	if out, err := mkfs.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		t.Skip("no mke2fs here")
	} else if err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	f, err := os.Open(image)
	lab.Must(t, err)
	defer f.Close()
	got, err := Read(f, 0)
	lab.Must(t, err)
	want := Superblock{
		Blocks: 2048, BlockSize: 4096, BlocksPerGroup: 32768, Label: "kios-data", Sound: true,
		UUID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	}
	if *got != want || got.Size() != 8<<20 {
		t.Errorf("Read = %+v, want %+v", *got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(super(1, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sb, err := Read(bytes.NewReader(b), 0); err == nil {
			sb.Size()
		}
	})
}
