package watchdog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// machine makes files in place of devices, and the identities that the kernel tells.
func machine(t *testing.T, identities map[string]string) (dev, sys string) {
	t.Helper()
	dev, sys = t.TempDir(), t.TempDir()
	for name, identity := range identities {
		lab.WriteFile(t, filepath.Join(dev, name), "")
		if identity != "" {
			dir := filepath.Join(sys, "class/watchdog", name)
			lab.Must(t, os.MkdirAll(dir, 0o755))
			lab.WriteFile(t, filepath.Join(dir, "identity"), identity+"\n")
		}
	}
	return dev, sys
}

func TestCandidates(t *testing.T) {
	dev, sys := machine(t, map[string]string{
		"watchdog": "", "watchdog0": "Software Watchdog", "watchdog2": "", "watchdog10": "iTCO_wdt", "watchdogs": "", "watchdog1x": "",
	})
	var got []string
	for _, c := range candidates(dev, sys) {
		got = append(got, filepath.Base(c.path))
	}
	if diff := cmp.Diff([]string{"watchdog2", "watchdog10", "watchdog0"}, got); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
}

func TestNone(t *testing.T) {
	dev, sys := machine(t, nil)
	if d, err := Open(dev, sys, time.Minute); d != nil || err != nil {
		t.Errorf("Open = %v, %v on a machine without a watchdog", d, err)
	}
}

// What is no watchdog is not taken for one, and is told to stop in case it is.
func TestNoWatchdog(t *testing.T) {
	dev, sys := machine(t, map[string]string{"watchdog0": ""})
	if d, err := Open(dev, sys, time.Minute); d != nil || err == nil {
		t.Errorf("Open = %v, %v of a file", d, err)
	}
	if got := lab.ReadFile(t, filepath.Join(dev, "watchdog0")); got != "V" {
		t.Errorf("it was told %q, want V", got)
	}
}

// driver is what a driver takes, in seconds, and what it has before.
type driver struct{ least, most, now int }

// A watchdog that does not take a timeout gets one that is near.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		want, least, most int // least and most as the kernel tells
		floor             int // what it has already
		driver            driver
		got               int
	}{
		{120, 1, 613, 0, driver{1, 613, 30}, 120},
		{600, 1, 613, 0, driver{1, 613, 30}, 600},
		{600, 1, 255, 0, driver{1, 255, 30}, 255},
		{30, 60, 613, 0, driver{60, 613, 613}, 60},
		{120, 0, 0, 0, driver{1, 1000, 30}, 120},
		{120, 0, 0, 0, driver{1, 63, 30}, 50},   // it tells no limit
		{120, 1, 600, 0, driver{1, 63, 30}, 50}, // nor the right one
		{120, 0, 0, 0, driver{1, 5, 5}, 5},
		{600, 0, 0, 120, driver{1, 130, 120}, 120}, // never shorter than it is
	} {
		got := tt.driver.now
		for _, seconds := range values(tt.want, tt.least, tt.most, max(leastTimeout, tt.floor)) {
			if seconds >= tt.driver.least && seconds <= tt.driver.most {
				got = seconds
				break
			}
		}
		if got != tt.got {
			t.Errorf("%+v ends with %d", tt, got)
		}
	}
}

func TestLimit(t *testing.T) {
	d := &Device{sys: t.TempDir()}
	lab.WriteFile(t, filepath.Join(d.sys, "max_timeout"), "613\n")
	lab.WriteFile(t, filepath.Join(d.sys, "min_timeout"), "-1\n")
	for name, want := range map[string]int{"max_timeout": 613, "min_timeout": 0, "none": 0} {
		if got := d.limit(name); got != want {
			t.Errorf("limit(%s) = %d, want %d", name, got, want)
		}
	}
}
