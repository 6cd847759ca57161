//go:build root

package diskimage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// Wherever the disk is full, the image is not there, the reason is named, and nothing is
// left.
func TestCreateOnAFullDisk(t *testing.T) {
	needTools(t, "mkfs.vfat", "mmd", "mcopy", "mke2fs")
	o := exampleOptions(t)
	lab.WriteFile(t, filepath.Join(o.Etc, "large"), strings.Repeat("0123456789abcdef", 1<<16))
	failed, made := 0, 0
	for kib := 64; made == 0; kib += kib / 4 {
		small := t.TempDir()
		lab.Must(t, unix.Mount("small", small, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)))
		t.Cleanup(func() { unix.Unmount(small, unix.MNT_DETACH) })
		o.Out = filepath.Join(small, "disk.img")
		err := Create(t.Context(), o)
		left, listErr := os.ReadDir(small)
		switch lab.Must(t, listErr); {
		case err == nil:
			made++
		case !strings.Contains(err.Error(), "the file system of "+small) || len(left) > 0:
			t.Errorf("with %d KiB: %v, left %v", kib, err, left)
			fallthrough
		default:
			failed++
		}
	}
	if failed < 5 {
		t.Errorf("%d disks were full, want more", failed)
	}
	checkImage(t, o)
}

// checkImage compares the EFI file, and checks the data partition.
func checkImage(t *testing.T, o Options) {
	efi, err := os.ReadFile(o.EFI)
	lab.Must(t, err)
	got := output(t, "mtype", "-i", fmt.Sprintf("%s@@%d", o.Out, espStart), bootFile)
	if got != string(efi) {
		t.Errorf("the EFI file on the disk has %d bytes and is not the one that was given", len(got))
	}
	output(t, "e2fsck", "-fn", partition(t, o.Out, 2))
}
