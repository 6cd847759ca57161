//go:build guest

package boot

import (
	"io"
	"strings"
	"testing"

	"kios/internal/datapart"
	"kios/internal/modprobe"
)

// The machine has a host of SD cards, whose driver is a module.
func TestLoadStorageDrivers(t *testing.T) {
	unload := func() {
		for _, module := range []string{"mmc_block", "sdhci_pci", "cqhci", "sdhci", "mmc_core"} {
			modprobe.Command([]string{"-q", "-r", module}, io.Discard, io.Discard)
		}
	}
	unload()
	t.Cleanup(unload) // other tests load them themselves
	if len(driverless("/sys")) == 0 {
		t.Fatal("the guest has no sdhci-pci device: add -device sdhci-pci to its command line")
	}
	n, log := node(t)
	if !n.loadStorageDrivers() || !strings.Contains(log.String(), "loaded sdhci_pci, the driver of a disk controller") {
		t.Errorf("the driver was not loaded: %s", log)
	}
	if aliases := driverless("/sys"); len(aliases) != 0 {
		t.Errorf("without a driver: %q", aliases)
	}
	if n.loadStorageDrivers() {
		t.Error("drivers are loaded again")
	}
}

// A disk of the machine is a fixed one for the real sysfs, and what is not one is told.
func TestFixedDisk(t *testing.T) {
	if err := disks.Fixed("vda"); err != nil {
		t.Errorf("vda %v", err)
	}
	if err := disks.Fixed("no-such"); err == nil {
		t.Error("a disk that is not there is fixed")
	}
	if err := disks.Demand(datapart.Rule{DataPart: datapart.Auto}, "/dev/vda"); err == nil || !strings.Contains(err.Error(), "is no partition") {
		t.Errorf("a whole disk: %v", err)
	}
}
