package diskimage

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"kios/internal/gpt"
	"kios/test/lab"
)

func TestCreateAMI(t *testing.T) {
	needTools(t, "sgdisk")
	o := exampleOptions(t)
	o.Format, o.Size = "ami-raw", 2*gib
	image := create(t, o)
	if out := output(t, "sgdisk", "-v", image); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	info, err := os.Stat(image)
	lab.Must(t, err)
	if stored := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != 2*gib || stored > 128*mib {
		t.Errorf("%d bytes, of which %d are stored", info.Size(), stored)
	}
	f, err := os.Open(image)
	lab.Must(t, err)
	defer f.Close()
	if table, err := gpt.Read(f, sectorSize, uint64(info.Size()/sectorSize)); err != nil || table.Partitions[0].FirstLBA != espStart/sectorSize {
		t.Errorf("table: %+v, %v", table, err)
	}
}

// A disk without a data partition has the EFI system partition only.
func TestCreateWithoutData(t *testing.T) {
	needTools(t, "sgdisk")
	o := exampleOptions(t)
	o.Etc, o.OCI, o.Extra, o.NoData, o.Size, o.Format = "", nil, nil, true, 0, "ami-raw"
	image := create(t, o)
	out := output(t, "sgdisk", "-v", "-p", image)
	if !strings.Contains(out, "No problems found") || !strings.Contains(out, "EFI system") || strings.Contains(out, "kiOS data") {
		t.Errorf("sgdisk -v -p:\n%s", out)
	}
	info, err := os.Stat(image)
	lab.Must(t, err)
	if stored := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != DefaultSizeNoData || stored > 4*mib {
		t.Errorf("%d bytes, of which %d are stored", info.Size(), stored)
	}
	output(t, "fsck.vfat", "-n", partition(t, image, 1))
}

// TestEFIFileIsInOnePiece is about volumes that are read from a snapshot block by block when
// they are new: reading ahead helps with one piece only.
func TestEFIFileIsInOnePiece(t *testing.T) {
	image := create(t, exampleOptions(t))
	out := output(t, "mshowfat", "-i", fmt.Sprintf("%s@@%d", image, espStart), bootFile)
	pieces := regexp.MustCompile(`<(\d+)(-\d+)?>`).FindAllStringSubmatch(out, -1)
	// The clusters before are those of the directories.
	if len(pieces) != 1 || pieces[0][1] != "5" {
		t.Errorf("clusters of the EFI file: %s", out)
	}
}

func TestAMISize(t *testing.T) {
	o := exampleOptions(t)
	o.Format, o.Size = "ami-raw", 1536*mib
	if err := o.Check(); err == nil || !strings.Contains(err.Error(), "use 2G") {
		t.Errorf("Check = %v", err)
	}
}

func TestReadEtc(t *testing.T) {
	image := create(t, exampleOptions(t))
	dir := t.TempDir()
	lab.Must(t, ReadEtc(t.Context(), image, dir))
	text, err := os.ReadFile(filepath.Join(dir, "etc/kubernetes/manifests/hello.yaml"))
	if err != nil || string(text) != "kind: Pod\n" {
		t.Errorf("%q, %v", text, err)
	}
}
