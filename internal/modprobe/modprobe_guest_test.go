//go:build guest

package modprobe

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// run is the command as the kernel and the kubelet call it.
func run(args ...string) (code int, output string) {
	var stdout, stderr bytes.Buffer
	code = Command(args, &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// TestLoadAndRemove loads a module with what it needs, of a name and of an
// alias, with parameters, and removes it.
func TestLoadAndRemove(t *testing.T) {
	for _, name := range []string{"md_mod", "raid1", "md-raid1", "nbd"} {
		run("-r", "-q", name)
	}
	for _, args := range []string{"raid1", "md-raid1", "-q -- md-level-1"} {
		if code, out := run(strings.Fields(args)...); code != 0 {
			t.Fatalf("modprobe %s = %d, %s", args, code, out)
		}
		if !Present("/sys", "raid1") || !Present("/sys", "md_mod") {
			t.Fatalf("modprobe %s: raid1 and md_mod are not loaded", args)
		}
		if code, out := run("-r", "raid1"); code != 0 {
			t.Fatalf("modprobe -r raid1 = %d, %s", code, out)
		}
	}
	if code, out := run("nbd", "nbds_max=2"); code != 0 {
		t.Fatalf("modprobe nbd = %d, %s", code, out)
	}
	if got, _ := os.ReadFile("/sys/module/nbd/parameters/nbds_max"); string(got) != "2\n" {
		t.Errorf("nbds_max = %q", got)
	}
	run("-r", "nbd")
	if code, _ := run("ext4"); code != 0 {
		t.Errorf("modprobe of what is built in = %d", code)
	}
	if code, out := run("nbd", "nbds_max=x"); code != 1 || !strings.Contains(out, "(nbds_max=x)") {
		t.Errorf("modprobe with a bad parameter = %d, %s", code, out)
	}
}
