// Package ptp reads the clock that a hypervisor gives its guests: a PTP hardware
// clock, /dev/ptpN (Documentation/driver-api/ptp.rst of the kernel).
//
// A container may not open the device: its cgroup forbids that to every
// container that is not privileged, and Kubernetes knows no permission for one
// device without a device plugin. The cgroup is asked when a device is opened,
// though, and not when it is used. So PID 1 opens the clock, for reading, and
// gives the open file to whoever connects to a socket (Server); the pod that
// keeps the time can then read this clock and do nothing else (Open).
//
// The clocks of network cards are left alone: nothing keeps them right.
package ptp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where PID 1 gives away the clock. There is none on a machine
// without such a clock.
const Socket = "/run/kios/clock/socket"

// hypervisors are the names, or how the names begin, of clocks that show the
// host's UTC.
var hypervisors = []string{
	"KVM virtual PTP", // ptp_kvm: KVM, so most clouds
	"hyperv",          // hv_utils: Hyper-V, Azure
	"ena-ptp-",        // ena: Amazon's network card, kept right by the host
	"vmclock",         // ptp_vmclock: QEMU and Amazon, aware of live migration
}

// Find returns the device of the hypervisor's clock, such as "/dev/ptp0", and
// its name. Both are empty if there is none. sysfs is /sys.
func Find(sysfs string) (device, name string, err error) {
	files, err := filepath.Glob(filepath.Join(sysfs, "class/ptp/ptp*/clock_name"))
	if err != nil {
		return "", "", err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("read the name of a PTP clock: %w", err)
		}
		name := strings.TrimSpace(string(content))
		for _, h := range hypervisors {
			if strings.HasPrefix(name, h) {
				return "/dev/" + filepath.Base(filepath.Dir(file)), name, nil
			}
		}
	}
	return "", "", nil
}

// Clock is a hypervisor's clock.
type Clock struct {
	Name string
	file *os.File
}

// Open gets the clock from PID 1, which listens on socket. It returns nil if
// nobody does.
func Open(ctx context.Context, socket string) (*Clock, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask PID 1 for the hypervisor's clock: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	name, file, err := receive(conn.(*net.UnixConn))
	if err != nil {
		return nil, fmt.Errorf("get the hypervisor's clock from PID 1: %w", err)
	}
	return &Clock{name, file}, nil
}

// Close gives the clock back.
func (c *Clock) Close() error { return c.file.Close() }

// Offset tells how far the clock is ahead of the system's, and at which moment
// by the latter.
func (c *Clock) Offset() (ahead time.Duration, at time.Time, err error) {
	fd := int(c.file.Fd())
	if p, err := unix.IoctlPtpSysOffsetPrecise(fd); err == nil {
		at = moment(p.Realtime)
		return moment(p.Device).Sub(at), at, nil
	}
	// Clocks that cannot be read together with the system's.
	e, err := unix.IoctlPtpSysOffsetExtended(fd, samples)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read the hypervisor's clock %q: %w", c.Name, err)
	}
	ahead, at = best(e.Ts[:samples])
	return ahead, at, nil
}

// samples is how many readings are taken to find a quick one.
const samples = 10

// best returns the offset of the reading that took the least time. Each is the
// system's time, the clock's, and the system's again.
func best(readings [][3]unix.PtpClockTime) (ahead time.Duration, at time.Time) {
	shortest := time.Duration(-1)
	for _, r := range readings {
		before, clock, after := moment(r[0]), moment(r[1]), moment(r[2])
		took := after.Sub(before)
		if shortest >= 0 && took >= shortest {
			continue
		}
		shortest, at = took, before.Add(took/2)
		ahead = clock.Sub(at)
	}
	return ahead, at
}

func moment(t unix.PtpClockTime) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
