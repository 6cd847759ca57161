package arch

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// mayBeEmpty are the fields that say something by being empty.
var mayBeEmpty = map[string][]string{
	"amd64": {".Suffix", ".Kernel.Cmdline", ".QEMU.Firmware.Direct", ".QEMU.AHCI", ".QEMU.Keyboard", ".QEMU.Watchdog"},
	"arm64": {".QEMU.VMwareDisk", ".QEMU.Firmware.Secure.Args"},
}

// empty lists the fields of a struct, and of those in it, that have no value.
func empty(v reflect.Value, path string) (fields []string) {
	switch {
	case v.Kind() == reflect.Struct && v.Type().PkgPath() != "":
		for i := range v.NumField() {
			fields = append(fields, empty(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
	case v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0:
		fields = append(fields, path)
	}
	return fields
}

// Whoever adds a field, or an architecture, fills in all of it.
func TestAllAreComplete(t *testing.T) {
	for _, a := range All {
		got, want := empty(reflect.ValueOf(a), ""), slices.Clone(mayBeEmpty[a.Name])
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the fields without a value are %q, want %q", a.Name, got, want)
		}
	}
}

// What keeps two architectures apart differs.
func TestAllDiffer(t *testing.T) {
	for name, of := range map[string]func(Arch) string{
		"Name":        func(a Arch) string { return a.Name },
		"Suffix":      func(a Arch) string { return a.Suffix },
		"Triplet":     func(a Arch) string { return a.Triplet },
		"ELF":         func(a Arch) string { return a.ELF.String() },
		"EFI.Stub":    func(a Arch) string { return a.EFI.Stub },
		"EFI.Boot":    func(a Arch) string { return a.EFI.Boot },
		"QEMU.Binary": func(a Arch) string { return a.QEMU.Binary },
		"Cross":       func(a Arch) string { return strings.Join(a.Cross, " ") },
		"Go":          func(a Arch) string { return strings.Join(a.Go, " ") },
	} {
		seen := map[string]string{}
		for _, a := range All {
			if other, twice := seen[of(a)]; twice {
				t.Errorf("%s and %s have the same %s, %q", other, a.Name, name, of(a))
			}
			seen[of(a)] = a.Name
		}
	}
}

func TestFind(t *testing.T) {
	for _, want := range []string{"amd64", "arm64"} {
		if a, err := Find(want); err != nil || a.Name != want || !slices.Contains(a.Go, "GOARCH="+want) {
			t.Errorf("Find(%s) = %s, %v", want, a.Name, err)
		}
	}
	for name, want := range map[string]string{"aarch64": "is called arm64 here", "x86_64": "is called amd64 here"} {
		if _, err := Find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%q) = %v, want an error with %q", name, err, want)
		}
	}
	for _, name := range []string{"", "x86_64", "aarch64", "ARM64", "riscv64"} {
		if a, err := Find(name); err == nil || !strings.Contains(err.Error(), "use amd64 or arm64") {
			t.Errorf("Find(%q) = %s, %v, want an error that names what there is", name, a.Name, err)
		}
		if err := (Arch{Name: name}).Check(); err == nil {
			t.Errorf("Check of %q = nil, want an error", name)
		}
	}
}

func TestOfMachine(t *testing.T) {
	for machine, want := range map[uint16]string{0x8664: "amd64", 0xaa64: "arm64"} {
		if a, err := OfMachine(machine); err != nil || a.Name != want {
			t.Errorf("OfMachine(%#x) = %s, %v, want %s", machine, a.Name, err, want)
		}
	}
	if a, err := OfMachine(0x14c); err == nil {
		t.Errorf("OfMachine(i386) = %s, want an error", a.Name)
	}
}

// The same table serves hosts of both architectures.
func TestTool(t *testing.T) {
	for _, tt := range []struct{ target, host, gcc, cross, pkg string }{
		{"amd64", "amd64", "gcc", "", "gcc"},
		{"arm64", "arm64", "gcc", "", "gcc"},
		{"arm64", "amd64", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-", "gcc-aarch64-linux-gnu"},
		{"amd64", "arm64", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-", "gcc-x86-64-linux-gnu"},
		{"amd64", "riscv64", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-", "gcc-x86-64-linux-gnu"},
	} {
		a, err := Find(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{a.toolOn(tt.host, "gcc"), a.crossCompileOn(tt.host), a.toolPackagesOn(tt.host)[0]}
		if want := []string{tt.gcc, tt.cross, tt.pkg}; !slices.Equal(got, want) {
			t.Errorf("%s on %s: %q, want %q", tt.target, tt.host, got, want)
		}
	}
}

// A machine gets what it needs for its own architecture and for another one, and not what
// that other one would need at home.
func TestPackages(t *testing.T) {
	for _, tt := range []struct{ target, host, build, machines string }{
		{"amd64", "amd64", "gcc binutils libc6-dev libelf-dev", "qemu-system-x86 ovmf"},
		{"arm64", "arm64", "gcc binutils libc6-dev bsdextrautils", "qemu-system-arm qemu-efi-aarch64"},
		{"arm64", "amd64", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross bsdextrautils", "qemu-efi-aarch64"},
		{"amd64", "arm64", "gcc-x86-64-linux-gnu libc6-dev-amd64-cross libelf-dev", "ovmf"},
	} {
		a, err := Find(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		build, machines := strings.Join(a.buildPackagesOn(tt.host), " "), strings.Join(a.machinePackagesOn(tt.host), " ")
		if build != tt.build || machines != tt.machines {
			t.Errorf("%s on %s: %q and %q, want %q and %q", tt.target, tt.host, build, machines, tt.build, tt.machines)
		}
	}
}

func TestHost(t *testing.T) {
	h := Host()
	if h.Foreign() || h.CrossCompile() != "" || h.Tool("ld") != "ld" {
		t.Errorf("the host %s is foreign to itself", h.Name)
	}
	for _, a := range All {
		if a.Foreign() != (a.Name != h.Name) {
			t.Errorf("%s.Foreign() = %v on %s", a.Name, a.Foreign(), h.Name)
		}
	}
}

func TestFlag(t *testing.T) {
	for _, a := range All {
		if a.flagOn(a.Name) != "" || a.flagOn("riscv64") != " --arch "+a.Name {
			t.Errorf("%s: the flag is %q at home and %q elsewhere", a.Name, a.flagOn(a.Name), a.flagOn("riscv64"))
		}
	}
	if got := (Arch{}).Flag(); got != "" {
		t.Errorf("without an architecture, the flag is %q", got)
	}
}

func TestProduct(t *testing.T) {
	if got := []string{amd64.Product("kernel"), arm64.Product("kernel")}; !slices.Equal(got, []string{"kernel", "kernel-arm64"}) {
		t.Errorf("the products are %q", got)
	}
}

func TestEmulation(t *testing.T) {
	for _, a := range All {
		for _, foreign := range []bool{false, true} {
			if args := a.QEMU.Emulation(foreign); !slices.Contains(args, "-cpu") || !strings.HasPrefix(args[1], "tcg") {
				t.Errorf("%s, foreign %v: %q", a.Name, foreign, args)
			}
		}
	}
	// What executes a guest of x86 must keep its order of memory.
	if slices.Contains(amd64.QEMU.Emulation(true), "tcg,thread=multi") {
		t.Error("an amd64 guest on another host has a thread for each processor")
	}
}

func TestInstanceType(t *testing.T) {
	for _, a := range All {
		types := a.EC2.Types
		if !slices.IsSortedFunc(types, func(x, y InstanceType) int { return int(y.Memory>>20 - x.Memory>>20) }) || types[len(types)-1].Memory != 0 {
			t.Errorf("%s: types %v, want them sorted, and one for every machine", a.Name, types)
		}
	}
	for memory, want := range map[int64]string{16 << 30: "m7g.large", 2 << 30: "t4g.small", 2<<30 - 1: "t4g.micro", 256 << 20: "t4g.nano"} {
		if got := arm64.EC2.InstanceType(memory); got != want {
			t.Errorf("InstanceType(%d) = %s, want %s", memory, got, want)
		}
	}
}
