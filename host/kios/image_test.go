package main

import (
	"cmp"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/diskimage"
	"kios/test/lab"
)

// What is wrong with a flag's value is said with the flag, and with what to do.
func TestImageInputs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hello.yaml")
	lab.WriteFile(t, file, "kind: Pod\n")
	for _, tt := range []struct {
		change func(*imageFlags)
		want   string
	}{
		{func(f *imageFlags) { f.Etc = file }, "--etc " + file + ": it is not a directory: give one that is laid out like /etc"},
		{func(f *imageFlags) { f.Etc = "/no/etc" }, "--etc /no/etc: there is no such directory: give one"},
		{func(f *imageFlags) { f.Etc, f.noCheck = "/no/etc", true }, "--etc /no/etc: there is no such directory: give one"},
		{func(f *imageFlags) { f.OCI = []string{"/no/archive"} }, "--oci /no/archive: there is no such file: give the output of docker save"},
		{func(f *imageFlags) { f.EFI = "/no/kios.efi" }, "/no/kios.efi does not exist; make it with kios build, or give another one with --efi"},
		{func(f *imageFlags) { f.OCI, f.NoData = []string{file}, true }, "which --no-data-partition leaves out"},
		{func(f *imageFlags) { f.join.to, f.NoData = "10.0.0.1:6443", true }, "which --no-data-partition leaves out"},
		{func(f *imageFlags) { f.size = "4Q" }, "--size: size \"4Q\" is not a number with a unit"},
	} {
		f := imageFlags{Options: diskimage.Options{EFI: file, Out: filepath.Join(dir, "disk.img")}, size: "4G"}
		tt.change(&f)
		if err := runImage(t.Context(), f); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("runImage = %v, want an error with %q", err, tt.want)
		}
	}
}

// Without --efi, the file is that of the checkout for the architecture that is asked for, or
// for this machine's.
func TestFindEFI(t *testing.T) {
	t.Chdir(lab.Root(t))
	for _, a := range append([]arch.Arch{{}}, arch.All...) {
		f := imageFlags{Options: diskimage.Options{Arch: a}}
		lab.Must(t, f.findEFI())
		name := cmp.Or(a.Name, arch.Host().Name)
		if want := filepath.Join("_out", name, "kios.efi"); !strings.HasSuffix(f.EFI, want) || f.Arch.Name != name {
			t.Errorf("--arch %q: %s for %s, want %s", a.Name, f.EFI, f.Arch.Name, want)
		}
	}
	f := imageFlags{Options: diskimage.Options{EFI: "x.efi"}}
	lab.Must(t, f.findEFI())
	if f.EFI != "x.efi" || f.Arch.Name != "" {
		t.Errorf("--efi x.efi: %s for %q, want what the file says", f.EFI, f.Arch.Name)
	}
}
