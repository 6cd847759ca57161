package main

import (
	"io"
	"slices"
	"testing"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/progress"
	"kios/test/lab"
)

func versions(t *testing.T) build.Versions {
	t.Helper()
	b, err := build.New(lab.Root(t), arch.Host(), progress.New(io.Discard))
	lab.Must(t, err)
	return b.Versions
}

// The packages for each architecture are those that package arch names, and none of them
// is installed for all.
func TestDeps(t *testing.T) {
	v := versions(t)
	for _, a := range arch.All {
		o := depsOptions{arch: &archValue{a}}
		all := o.names(v)
		for _, name := range slices.Concat(v.Host, a.BuildPackages(), a.MachinePackages()) {
			if !slices.Contains(all, name) {
				t.Errorf("%s: %s is not among %q", a.Name, name, all)
			}
		}
		if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("%s: %q, want each once", a.Name, all)
		}
		o.compileOnly = true
		for _, name := range a.MachinePackages() {
			if slices.Contains(o.names(v), name) {
				t.Errorf("%s: %s is installed to compile", a.Name, name)
			}
		}
		for _, name := range slices.Concat([]string{a.QEMU.Package, a.QEMU.Firmware.Package}, a.Cross) {
			if slices.Contains(v.Host, name) {
				t.Errorf("versions.json has %s under host, which is for %s alone", name, a.Name)
			}
		}
	}
}

func TestDepsForTests(t *testing.T) {
	v := versions(t)
	o := depsOptions{arch: &archValue{arch.Host()}}
	if slices.Contains(o.names(v), v.Test[0]) {
		t.Errorf("%s is installed without --test", v.Test[0])
	}
	o.test = true
	if !slices.Contains(o.names(v), v.Test[0]) {
		t.Errorf("%s is not installed with --test", v.Test[0])
	}
}

// Machines of each architecture, and its programs, can be run on a host of another one.
func TestToolsOfEachArchitecture(t *testing.T) {
	tools := versions(t).Tools
	for _, a := range arch.All {
		if tools[a.QEMU.Package] == "" {
			t.Errorf("versions.json has no version of %s under tools", a.QEMU.Package)
		}
	}
	if tools["qemu-user"] == "" {
		t.Error("versions.json has no version of qemu-user under tools")
	}
}
