//go:build conformance

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kios/host/oci"
	"kios/test/lab"
)

// What the tests rely on in the images, and programs of Debian would not give them.
func TestImages(t *testing.T) {
	lab.NeedRoot(t)
	images := newMaker(t).images()
	for _, tc := range []struct{ repository, script, want string }{
		{"e2e-test-images/busybox", "env | grep data-1", "data-1=value\n"},
		{"e2e-test-images/busybox", "readlink /bin/ls; chmod 0 /bin/ls; id -u www-data", "33\n"},
		{"e2e-test-images/busybox", "type pgrep ipcs brctl netstat", "pgrep is /bin/pgrep\nipcs is /bin/ipcs\nbrctl is /bin/brctl\nnetstat is /bin/netstat\n"},
		{"e2e-test-images/agnhost", "type nc curl", "nc is /bin/nc\ncurl is /usr/bin/curl\n"},
		{"e2e-test-images/agnhost", "nc -h 2>&1 | grep -c UDP; curl --version | cut -c1-5 | head -n 1", "1\ncurl \n"},
		{"e2e-test-images/agnhost", "id -G user-defined-in-image", "1000 50000\n"},
		{"e2e-test-images/nginx", "nginx -v 2>&1 | cut -d/ -f1", "nginx version: nginx\n"},
		{"critest", "ipcmk --version | grep -c util-linux", "1\n"},
		// critest takes each word on the parser's standard error for a failure.
		{"critest", "echo '#include <tunables/global>\nprofile p {\n#include <abstractions/base>\nfile,\n}' > /tmp/p; sudo apparmor_parser --skip-kernel-load --skip-cache --kernel-features=/usr/share/apparmor-features/features /tmp/p && echo good", "good\n"},
	} {
		cmd := exec.Command("chroot", place(t, images[tc.repository]), "/bin/sh", "-c", tc.script)
		cmd.Env = []string{path, "data-1=value"}
		got, err := cmd.CombinedOutput()
		if string(got) != tc.want {
			t.Errorf("%s: %s prints %q (%v), want %q", tc.repository, tc.script, got, err, tc.want)
		}
	}
}

// place unpacks an image.
func place(t *testing.T, image oci.Image) string {
	t.Helper()
	dir := t.TempDir()
	lab.Must(t, os.Chmod(filepath.Dir(dir), 0o755))
	for _, f := range image.Files {
		lab.Must(t, f.Place(t.Context(), dir))
	}
	return dir
}
