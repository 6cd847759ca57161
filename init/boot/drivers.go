package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kios/internal/modprobe"
)

// driverBound is how long drivers may take to start controllers. One that does not
// answer must not keep the node from coming up.
const driverBound = 30 * time.Second

// loadStorageDrivers loads the modules of disk controllers that the kernel has no
// driver for, before the data partition is looked for, and reports whether a controller
// has got one. The pod "modules" would load them, too, but it runs when the node has come up
// without its disk. Where all controllers have drivers, this is a look at a few files
// of sysfs.
func (n *Node) loadStorageDrivers() bool {
	aliases := driverless("/sys")
	if len(aliases) == 0 {
		return false
	}
	if err := within(driverBound, func() error { return n.loadDrivers(aliases) }); err != nil {
		n.Log.Warn("a disk controller has no driver: %v", err)
	}
	return len(driverless("/sys")) < len(aliases)
}

func (n *Node) loadDrivers(aliases []string) error {
	release, err := modprobe.Release()
	if err != nil {
		return err
	}
	tree := modprobe.Open(modprobe.Dir(release)) // empty on a small machine
	found, err := tree.Aliases(aliases)
	if err != nil {
		return err
	}
	var errs []error
	for _, alias := range aliases {
		for _, module := range found[alias] {
			errs = append(errs, n.loadDriver(tree, module))
		}
	}
	return errors.Join(errs...)
}

// driverless returns the aliases of the PCI devices that are disk controllers, by their
// class, and that no driver has taken.
func driverless(sys string) (aliases []string) {
	files, _ := filepath.Glob(filepath.Join(sys, "bus/pci/devices/*/class"))
	for _, file := range files {
		class, _ := os.ReadFile(file)
		if !isStorage(string(class)) {
			continue
		}
		dir := filepath.Dir(file)
		if _, err := os.Lstat(filepath.Join(dir, "driver")); err == nil {
			continue
		}
		if alias, err := os.ReadFile(filepath.Join(dir, "modalias")); err == nil {
			aliases = append(aliases, strings.TrimSpace(string(alias)))
		}
		if strings.HasPrefix(string(class), cardHost) {
			aliases = append(aliases, "mmc:block") // what the cards behind it will want
		}
	}
	return aliases
}

// PCI classes: mass storage, and hosts of SD cards and eMMC.
const (
	storage  = "0x01"
	cardHost = "0x0805"
)

func isStorage(class string) bool {
	return strings.HasPrefix(class, storage) || strings.HasPrefix(class, cardHost)
}

// loadDriver loads a module and what it needs.
func (n *Node) loadDriver(tree *modprobe.Tree, module string) error {
	steps, err := tree.Plan(module)
	if err != nil {
		return err
	}
	words := modprobe.BootParams()
	for _, step := range steps {
		if modprobe.Present("/sys", step.Module) {
			continue
		}
		if _, err := modprobe.Insert(step.File, modprobe.Params(words, step.Module)); err != nil && !step.Soft {
			return err
		}
	}
	n.Log.Notice("loaded %s, the driver of a disk controller", module)
	return nil
}
