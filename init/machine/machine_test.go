package machine

import (
	"path/filepath"
	"testing"

	"kios/test/lab"
)

const (
	// arm64 are the first lines of cpuinfo on a processor without the flag.
	arm64 = "processor\t: 0\nBogoMIPS\t: 125.00\nFeatures\t: fp asimd evtstrm hypervisor\nCPU implementer\t: 0x41\n"

	memory = "\x10\x17\x23\x01" + "0123456789abcdefghi" + "\x00\x00" // a structure of another type
	bits   = "\x00\x18\x00\x00\x01\x02\x00\xe8\x03\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00"
	rest   = "\x00\x00\xff\xff" + "EDK II\x000.0.0\x002025\x00\x00"
	old    = "\x00\x13\x00\x00\x01\x02\x00\xe8\x03\x00\x08\x00\x00\x00\x00\x00\x00\x00\x10" + "EDK II\x00\x00"
)

func TestVirtual(t *testing.T) {
	for name, c := range map[string]struct {
		cpuinfo, tables, product string
		want                     bool
	}{
		"flag":                        {"processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\nbugs\t\t:\n", "", "", true},
		"no flag":                     {"processor\t: 0\nmodel name\t: a hypervisor\nflags\t\t: fpu hypervisors\n\nflags: hypervisor\n", "", "", false},
		"the processor's word counts": {"flags\t: fpu\n", bits + "\x1c" + rest, "KVM", false},
		"firmware of QEMU":            {arm64, memory + bits + "\x1c" + rest, "", true},
		"firmware of a server":        {arm64, memory + bits + "\x0c" + rest, "m7g.metal", false},
		"old firmware":                {arm64, old, "", false},
		"firmware that names it":      {arm64, bits + "\x0c" + rest, "Virtual Machine\n", true},
		"names without tables":        {arm64, "", "VMware20,1\n", true},
		"a server's name":             {arm64, "", "ProLiant RL300 for KVM\n", false},
		"nothing":                     {arm64, "", "", false},
		"no processor":                {"", "", "", false},
	} {
		proc, sys := t.TempDir(), t.TempDir()
		lab.WriteFile(t, filepath.Join(proc, "cpuinfo"), c.cpuinfo)
		lab.WriteFile(t, filepath.Join(sys, "firmware/dmi/tables/DMI"), c.tables)
		lab.WriteFile(t, filepath.Join(sys, "class/dmi/id/product_name"), c.product)
		if got := Virtual(proc, sys); got != c.want {
			t.Errorf("%s: Virtual() = %v, want %v", name, got, c.want)
		}
	}
	if Virtual(t.TempDir(), t.TempDir()) {
		t.Error("Virtual() = true of a machine that does not tell")
	}
}
