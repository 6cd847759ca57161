//go:build guest

package apparmor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/init/mount"
	"kios/test/lab"
)

// TestKernelTakesProfile loads testdata/kios-test, which was compiled by
//
//	apparmor_parser --config-file=/dev/null --skip-kernel-load --skip-cache --kernel-features=F --policy-features=F
//
// from "profile kios-test { file, }", with F = host/apparmor/features.
func TestKernelTakesProfile(t *testing.T) {
	if _, err := os.Stat(Kernel); err != nil {
		lab.Must(t, mount.Row{Source: "securityfs", Target: "/sys/kernel/security", Type: "securityfs", Flags: mount.Strict}.Mount())
	}
	for range 2 { // the second time it replaces the first
		if errs := LoadDir(Kernel, "testdata"); len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	if list := lab.ReadFile(t, "/sys/kernel/security/apparmor/profiles"); !strings.Contains(list, "kios-test (enforce)\n") {
		t.Errorf("the kernel has these profiles: %q", list)
	}
	dir := t.TempDir()
	profile := lab.ReadFile(t, "testdata/kios-test")
	lab.WriteFile(t, filepath.Join(dir, "cut"), profile[:len(profile)/2])
	if errs := LoadDir(Kernel, dir); len(errs) != 1 || !strings.Contains(errs[0].Error(), "the kernel refuses it") {
		t.Errorf("half a profile: %v, want that the kernel refuses it", errs)
	}
}
