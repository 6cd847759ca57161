package modules

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// device is something that a module may be there for.
type device struct {
	name  string // for people: "pci device 0000:00:03.0"
	alias string // its modalias
}

// maxAlias bounds what is shown of a modalias. A processor's names each of its
// features.
const maxAlias = 80

// String is for the log.
func (d device) String() string {
	if len(d.alias) > maxAlias {
		return d.name + " (" + d.alias[:maxAlias] + "...)"
	}
	return d.name + " (" + d.alias + ")"
}

// walk returns the devices without a driver, one of each kind: several of one
// kind need the same module.
func walk(sysfs string) []device {
	var w walker
	for _, bus := range list(filepath.Join(sysfs, "bus")) {
		if bus == "memory" || bus == "cpu" {
			continue // many on a large machine, and none of them has a modalias
		}
		dir := filepath.Join(sysfs, "bus", bus, "devices")
		for _, name := range list(dir) {
			w.look(filepath.Join(dir, name), bus+" device "+name)
		}
	}
	// What is on no bus: the machine itself (firmware's tables, by which laptops
	// and boards are told), keyboards and the like, the processor's features.
	for _, class := range []string{"dmi", "input"} {
		dir := filepath.Join(sysfs, "class", class)
		for _, name := range list(dir) {
			w.look(filepath.Join(dir, name), class+" device "+name)
		}
	}
	w.look(filepath.Join(sysfs, "devices/system/cpu"), "the processor")
	return w.devices
}

// list returns the entries of a directory, in order. Sysfs lacks what the
// kernel lacks.
func list(dir string) []string {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var names []string
	var buf [4096]byte
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if err != nil || n == 0 {
			slices.Sort(names)
			return names
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// readAttribute returns what a file of sysfs says, which fits into a page, or
// "". There are hundreds, and a system call is dear on an emulated machine:
// os.ReadFile makes twice as many.
func readAttribute(file string) string {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(buf[:n]))
}

type walker struct {
	devices []device
	seen    map[string]bool
}

func (w *walker) look(dir, name string) {
	if hasDriver(dir) {
		return
	}
	alias := readAttribute(dir + "/modalias")
	if alias == "" || w.seen[alias] {
		return
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[alias] = true
	w.devices = append(w.devices, device{name, alias})
}

// hasDriver reports whether a driver is bound to the device: then sysfs has a
// link to it.
func hasDriver(dir string) bool {
	var target [1]byte
	_, err := unix.Readlink(dir+"/driver", target[:])
	return err == nil
}
