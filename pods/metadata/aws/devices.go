package aws

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kios/internal/datapart"
)

// ebsModel is what volumes of Elastic Block Store say that they are.
const ebsModel = "Amazon Elastic Block Store"

// ebsTimeout is the most that the kernel takes, in milliseconds. A volume may stand still
// for longer than the usual 30 seconds; a file system on it that got an error would be
// read-only for good.
const ebsTimeout = "4294967295"

// ebsLook is how often to look at the disks if no event tells of a new one.
const ebsLook = 10 * time.Minute

// watchEBS gives the volumes their timeout, those that are there and those that come.
func (c *Cloud) watchEBS(ctx context.Context, sys string) error {
	events, err := datapart.OpenUevents()
	if err != nil {
		return err
	}
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })()
	said := complaints{log: c.log}
	for ctx.Err() == nil {
		if err := setTimeouts(sys); err != nil {
			said.print(err)
		}
		events.Wait(ebsLook)
	}
	return ctx.Err()
}

// setTimeouts sets that of each volume that has another one.
func setTimeouts(sys string) error {
	var errs []error
	models, _ := filepath.Glob(filepath.Join(sys, "block/*/device/model"))
	for _, model := range models {
		if readText(model) != ebsModel {
			continue
		}
		file := filepath.Join(model, "../../queue/io_timeout")
		if now := readText(file); now != "" && !isLong(now) {
			errs = append(errs, overwrite(file, ebsTimeout))
		}
	}
	return errors.Join(errs...)
}

// isLong reports whether a timeout is ebsTimeout as the kernel gives that back. It counts in
// jiffies, so it is some milliseconds less, and how many depends on their length.
func isLong(text string) bool {
	ms, err := strconv.ParseUint(text, 10, 32)
	return err == nil && ms > math.MaxInt32
}

// readText returns "" for a file that is not there, as with a disk that is gone.
func readText(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// overwrite writes to a file of the kernel. One that is gone has no need of it.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
