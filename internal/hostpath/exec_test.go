package hostpath

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseExecPaths(t *testing.T) {
	got, err := ParseExecPaths("# Longhorn\n/var/lib/longhorn  # engine\n\n\t/opt/kata\r\n")
	if diff := cmp.Diff([]string{"/var/lib/longhorn", "/opt/kata"}, got); diff != "" || err != nil {
		t.Errorf("error %v; paths (-want +got):\n%s", err, diff)
	}
	if got, err := ParseExecPaths(strings.Repeat("/var/lib/x\n", 1000)); len(got) != MaxExecPaths || err == nil {
		t.Errorf("%d paths of 1000, want %d; error %v, want one", len(got), MaxExecPaths, err)
	}
}

func TestCheckExecPath(t *testing.T) {
	for dir, want := range map[string]string{
		"/var/lib/longhorn": "",
		"/opt/kata":         "",
		"/opt":              "",
		"/usr/local/x/../y": "",
		"lib/x":             "begins with a slash",
		"/var":              "give a directory below /var",
		"/etc/x":            "give a directory below /var",
		"/optional":         "give a directory below /var",
		"/var/log/x":        "not in its log, meta or run",
		"/mnt/../var/meta":  "not in its log, meta or run",
		"/run/x":            "give a directory below /var",
	} {
		if err := CheckExecPath(dir); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckExecPath(%s) = %v, want %q", dir, err, want)
		}
	}
}
