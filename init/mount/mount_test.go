package mount

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

var sample = strings.NewReplacer(`\u00a0`, "\u00a0", `\u0085`, "\u0085", `\f`, "\f").Replace(`22 1 0:20 / / ro,nosuid,nodev shared:1 - erofs /rootfs.erofs ro,user_xattr
23 22 0:21 / /run rw,nosuid - tmpfs tmpfs rw,size=4k
24 23 254:2 /meta/with\040blank /run/a\040b rw,nosuid shared:3 master:4 - ext4 /dev/vda2 rw
25 22 0:21 / /running rw - tmpfs tmpfs rw
26 22 254:2 / /other\u00a0space\u0085and\fpage rw - ext4 /dev/vda2 rw
`)

func TestParseInfo(t *testing.T) {
	infos, err := ParseInfo(strings.NewReader(sample))
	lab.Must(t, err)
	want := Info{ID: 24, Device: "254:2", Root: "/meta/with blank", Target: "/run/a b", Options: "rw,nosuid", Type: "ext4", Source: "/dev/vda2", Super: "rw"}
	if diff := cmp.Diff(want, infos[2]); diff != "" {
		t.Errorf("third mount (-want +got):\n%s", diff)
	}
	// White space that the kernel leaves as it is belongs to the name.
	if got, want := infos[4].Target, "/other\u00a0space\u0085and\fpage"; got != want {
		t.Errorf("target = %q, want %q", got, want)
	}
	var below []string
	for _, m := range Below(infos, "/run") {
		below = append(below, m.Target)
	}
	if diff := cmp.Diff([]string{"/run/a b", "/run"}, below); diff != "" {
		t.Errorf("Below(/run) (-want +got):\n%s", diff)
	}
	if _, err := ParseInfo(strings.NewReader("22 1 0:20 / / ro\n")); err == nil {
		t.Error("ParseInfo accepts a line without file system")
	}
}

func TestRowString(t *testing.T) {
	tests := []struct {
		row  Row
		want string
	}{
		{Row{Target: "/proc", Type: "proc", Source: "proc", Flags: Strict}, "mount -t proc -o nosuid,nodev,noexec proc /proc"},
		{Row{Target: "/run", Type: "tmpfs", Source: "tmpfs", Flags: NoSuid, Data: []string{"mode=0755", ""}}, "mount -t tmpfs -o nosuid,mode=0755 tmpfs /run"},
		{Row{Target: "/b", Source: "/a", Flags: Bind | RdOnly}, "mount -o bind,ro /a /b"},
	}
	for _, tt := range tests {
		if got := tt.row.String(); got != tt.want {
			t.Errorf("String = %q, want %q", got, tt.want)
		}
	}
}
