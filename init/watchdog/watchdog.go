// Package watchdog uses the machine's watchdog: a timer that resets the machine unless
// it is fed, see Documentation/watchdog/watchdog-api.rst in the kernel. It leaves out
// pretimeouts and the temperature.
package watchdog

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Device is a watchdog that runs.
type Device struct {
	Path    string
	Timeout time.Duration // after this without food it resets the machine

	mu   sync.Mutex // nothing is written between the last word and the end
	file *os.File
	sys  string // its directory in /sys
}

// software is the identity of softdog, which depends on the kernel that it watches.
const software = "Software Watchdog"

// candidate is a watchdog of the machine.
type candidate struct {
	path     string
	number   int
	software bool
}

// candidates returns the watchdogs below dev ("/dev"), the best first: hardware before
// software, and then as the kernel counts. sys is "/sys".
func candidates(dev, sys string) []candidate {
	paths, _ := filepath.Glob(filepath.Join(dev, "watchdog[0-9]*")) // the pattern is good
	var all []candidate
	for _, path := range paths {
		name := filepath.Base(path)
		number, err := strconv.Atoi(strings.TrimPrefix(name, "watchdog"))
		if err != nil {
			continue
		}
		identity, _ := os.ReadFile(filepath.Join(sys, "class/watchdog", name, "identity"))
		all = append(all, candidate{path, number, strings.TrimSpace(string(identity)) == software})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.software != b.software {
			return cmp.Compare(rank(a), rank(b))
		}
		return cmp.Compare(a.number, b.number)
	})
	return all
}

func rank(c candidate) int {
	if c.software {
		return 1
	}
	return 0
}

// Open starts the best watchdog that is not in use, and sets its timeout, as near as
// it can. It returns nil without an error if the machine has none.
func Open(dev, sys string, timeout time.Duration) (*Device, error) {
	var last error
	for _, c := range candidates(dev, sys) {
		d, err := open(c.path, filepath.Join(sys, "class/watchdog", filepath.Base(c.path)), timeout)
		if err == nil {
			return d, nil
		}
		last = err
	}
	return nil, last
}

// open starts a watchdog: opening it does that. sys is its directory in /sys.
func open(path, sys string, timeout time.Duration) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := &Device{Path: path, file: f, sys: sys}
	if d.Timeout, err = d.set(timeout); err != nil {
		d.Disarm()
		return nil, fmt.Errorf("read the timeout of %s: %w", path, err)
	}
	return d, nil
}

// set sets the timeout, as near as it can, and returns what it is then: not all can be
// set, nor to any value.
func (d *Device) set(timeout time.Duration) (time.Duration, error) {
	fd, floor := int(d.file.Fd()), max(leastTimeout, int(d.Timeout.Seconds()))
	for _, seconds := range values(int(timeout.Seconds()), d.limit("min_timeout"), d.limit("max_timeout"), floor) {
		if err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds); !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	seconds, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	if err == nil && seconds <= 0 {
		err = fmt.Errorf("its timeout is %d", seconds)
	}
	return time.Duration(seconds) * time.Second, err
}

// limit returns what the kernel tells of a watchdog, in seconds, or 0.
func (d *Device) limit(name string) int {
	text, _ := os.ReadFile(filepath.Join(d.sys, name))
	seconds, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(seconds, 0)
}

// leastTimeout is the shortest timeout that is asked for, unless a driver wants that.
const leastTimeout = 10

// values returns the timeouts to try, one after another: the one that is wanted; what is
// nearest to it by the limits that are known (0 for none); and ever shorter ones, because
// a driver need not tell its limits. None of these is shorter than floor.
func values(want, least, most, floor int) []int {
	all := []int{want}
	near := max(want, least)
	if most > 0 {
		near = min(near, most)
	}
	if near != want {
		all = append(all, near)
	}
	for next := min(want, near) * 3 / 4; next >= floor; next = next * 3 / 4 {
		all = append(all, next)
	}
	return all
}

// Prolong starts the timer anew, with a longer timeout if the watchdog has one. It returns
// what it is then.
func (d *Device) Prolong(timeout time.Duration) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if timeout <= d.Timeout {
		return d.Timeout, nil
	}
	return d.set(timeout)
}

// Feed starts the timer anew.
func (d *Device) Feed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.file.Write([]byte{0})
	return err
}

// Disarm stops the watchdog. A driver may not allow that (nowayout). Then it resets
// the machine.
func (d *Device) Disarm() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.file.Write([]byte("V")); err != nil {
		return err
	}
	return d.file.Close()
}
