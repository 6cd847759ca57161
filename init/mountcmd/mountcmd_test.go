package mountcmd

import (
	"bytes"
	"strings"
	"testing"

	"kios/init/mount"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		words       string
		flags       uintptr
		data        string
		propagation []uintptr
	}{
		{"", 0, "", nil},
		{"defaults,rw", 0, "", nil},
		{"bind,ro", unix.MS_BIND | unix.MS_RDONLY, "", nil},
		{"rbind,rslave", unix.MS_BIND | unix.MS_REC, "", []uintptr{unix.MS_SLAVE | unix.MS_REC}},
		{"bind,remount,nosuid,noexec,nodev", unix.MS_BIND | unix.MS_REMOUNT | mount.Strict, "", nil},
		{"size=64m,noexec,exec,mode=0755", 0, "size=64m,mode=0755", nil},
		{`context="a,b",ro`, unix.MS_RDONLY, `context="a,b"`, nil},
		{"_netdev,nofail,x-systemd.automount,comment=hello,noatime", unix.MS_NOATIME, "", nil},
		{"ro,rw,ro,,", unix.MS_RDONLY, "", nil},
	}
	for _, tt := range tests {
		got, err := parseOptions(tt.words)
		if err != nil {
			t.Errorf("parseOptions(%q): %v", tt.words, err)
		}
		if got.flags != tt.flags || got.data != tt.data || !cmp.Equal(got.propagation, tt.propagation) {
			t.Errorf("parseOptions(%q) = %+v, want flags %#x, data %q, propagation %v", tt.words, got, tt.flags, tt.data, tt.propagation)
		}
	}
	if _, err := parseOptions("ro,loop"); err == nil {
		t.Error("ParseOptions accepts loop")
	}
}

func TestParseMountArgs(t *testing.T) {
	tests := []struct {
		args string
		want *request // nil for an error
	}{
		{"-t tmpfs -o size=1m,ro tmpfs /mnt", &request{fstype: "tmpfs", options: []string{"size=1m,ro"}, paths: []string{"tmpfs", "/mnt"}}},
		{"--no-canonicalize -o bind /a /b", &request{options: []string{"bind"}, paths: []string{"/a", "/b"}}},
		{"/a /b -o bind -o ro -v", &request{options: []string{"bind", "ro"}, paths: []string{"/a", "/b"}, verbose: true}},
		{"-text4 --options=ro -- /dev/vda -odd", &request{fstype: "ext4", options: []string{"ro"}, paths: []string{"/dev/vda", "-odd"}}},
		{"--rbind --make-rshared -r /a /b", &request{options: []string{"rbind", "rshared", "ro"}, paths: []string{"/a", "/b"}}},
		{"--target /b --source /a", &request{paths: []string{"/a", "/b"}}},
		{"-V", &request{version: true}},
		{"", &request{}},
		{"-a", nil},
		{"-o", nil},
		{"/a /b /c", nil},
	}
	for _, tt := range tests {
		got, err := parseMountArgs(strings.Fields(tt.args))
		if (err != nil) != (tt.want == nil) {
			t.Errorf("mount %s: error %v", tt.args, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("mount %s (-want +got):\n%s", tt.args, diff)
		}
	}
}

func TestParseUnmountArgs(t *testing.T) {
	tests := []struct {
		args string
		want *unmountRequest
	}{
		{"/a", &unmountRequest{paths: []string{"/a"}}},
		{"-f /a /b", &unmountRequest{flags: unix.MNT_FORCE, paths: []string{"/a", "/b"}}},
		{"-lf /a", &unmountRequest{flags: unix.MNT_FORCE | unix.MNT_DETACH, paths: []string{"/a"}}},
		{"-R --quiet -- -a", &unmountRequest{recursive: true, quiet: true, paths: []string{"-a"}}},
		{"--version", &unmountRequest{version: true}},
		{"", nil},
		{"-x /a", nil},
	}
	for _, tt := range tests {
		got, err := parseUnmountArgs(strings.Fields(tt.args))
		if (err != nil) != (tt.want == nil) {
			t.Errorf("umount %s: error %v", tt.args, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(unmountRequest{})); diff != "" {
			t.Errorf("umount %s (-want +got):\n%s", tt.args, diff)
		}
	}
}

func TestUsage(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Mount([]string{"-a"}, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "unknown flag -a") {
		t.Errorf("mount -a = %d, %q", code, stderr.String())
	}
	if code := Umount([]string{"--version"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "umount ") {
		t.Errorf("umount --version = %d, %q", code, stdout.String())
	}
}
