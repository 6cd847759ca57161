package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
		if now := readText(file); now != "" && now != ebsTimeout {
			errs = append(errs, overwrite(file, ebsTimeout))
		}
	}
	return errors.Join(errs...)
}

// reservedPorts are those that programs of an EKS node listen at: no connection may have
// taken one before. 9808 and 9809, 2703: the CSI driver and agents of EKS; 61678 and 61679:
// the VPC CNI; the others: kubelet, kube-proxy.
var reservedPorts = [...]string{"2703", "9808", "9809", "10249", "10250", "10256", "61678", "61679"}

// reservePorts adds them to those that are reserved already, below /proc/sys/net.
func reservePorts(procSysNet string) error {
	file := filepath.Join(procSysNet, "ipv4/ip_local_reserved_ports")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reserve ports: %w", err)
	}
	list := strings.TrimSpace(string(text))
	for _, port := range reservedPorts {
		if !listsPort(list, port) {
			list = strings.TrimPrefix(list+","+port, ",")
		}
	}
	if list == strings.TrimSpace(string(text)) {
		return nil
	}
	return overwrite(file, list)
}

// listsPort reports whether a port is in a list such as "80,8000-8080".
func listsPort(list, port string) bool {
	n, _ := strconv.Atoi(port)
	return slices.ContainsFunc(strings.Split(list, ","), func(item string) bool {
		from, to, _ := strings.Cut(item, "-")
		low, err := strconv.Atoi(from)
		high, _ := strconv.Atoi(cmp.Or(to, from))
		return err == nil && low <= n && n <= high
	})
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
