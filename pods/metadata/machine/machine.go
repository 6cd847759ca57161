package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// View is where a process sees the machine. Its fields are directories, but for Cmdline and Quiet.
type View struct {
	Sys     string // sysfs
	Dev     string // the nodes of disks
	EFIVars string // the firmware's variables
	Cmdline string // the kernel command line, a file
	Scratch string // where volumes are mounted for as long as they are read
	// Quiet is how long no block device must have come before Settle ends without a volume.
	Quiet time.Duration
}

// Here is the View of a process that sees all of the machine where it usually is.
func Here() View {
	return View{Sys: "/sys", Dev: "/dev", EFIVars: "/sys/firmware/efi/efivars", Cmdline: "/proc/cmdline", Scratch: "/run", Quiet: Quiet}
}

// DMI are fields of the tables in which the firmware names the machine and its maker. The
// kernel has them in the folder class/dmi/id of sysfs.
type DMI struct {
	SysVendor, ProductName, ProductSerial, ProductUUID string
	ChassisAssetTag, BIOSVendor, BIOSVersion           string
}

// DMI returns what the firmware says. A field that it leaves out is empty.
func (v View) DMI() DMI {
	var d DMI
	for name, to := range map[string]*string{
		"sys_vendor": &d.SysVendor, "product_name": &d.ProductName, "product_serial": &d.ProductSerial,
		"product_uuid": &d.ProductUUID, "chassis_asset_tag": &d.ChassisAssetTag,
		"bios_vendor": &d.BIOSVendor, "bios_version": &d.BIOSVersion,
	} {
		*to = v.field("class/dmi/id/" + name)
	}
	return d
}

const maxField = 4096 // a page, which is all that a file of sysfs has

// field returns what a file of sysfs says, or "" if there is none.
func (v View) field(path string) string {
	text, _ := readFile(filepath.Join(v.Sys, path), maxField)
	return strings.TrimSpace(string(text))
}

// readFile reads a file of the kernel, which says nothing of its size beforehand.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text bytes.Buffer // grows by what there is
	if _, err := text.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(text.Len()) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text.Bytes(), nil
}

// readIfThere is readFile, and returns nothing for a file that is not there.
func readIfThere(path string, limit int64) ([]byte, error) {
	text, err := readFile(path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
