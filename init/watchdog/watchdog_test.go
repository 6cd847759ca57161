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
