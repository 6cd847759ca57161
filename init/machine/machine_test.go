package machine

import (
	"path/filepath"
	"testing"

	"kios/test/lab"
)

func TestVirtual(t *testing.T) {
	for text, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\nbugs\t\t:\n":                            true,
		"processor\t: 0\nmodel name\t: a hypervisor\nflags\t\t: fpu hypervisors\n\nflags: hypervisor\n": false,
		"": false,
	} {
		proc := t.TempDir()
		lab.WriteFile(t, filepath.Join(proc, "cpuinfo"), text)
		if got := Virtual(proc); got != want {
			t.Errorf("Virtual() = %v with %q", got, text)
		}
	}
	if Virtual(t.TempDir()) {
		t.Error("Virtual() = true of a machine that does not tell")
	}
}
