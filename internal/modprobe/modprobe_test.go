package modprobe

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kios/internal/cmdline"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

func TestParseArgs(t *testing.T) {
	tests := []struct {
		args string
		want *request
	}{
		{"-q -- fs-xfs", &request{quiet: true, modules: []string{"fs-xfs"}}},
		{"-qv dummy numdummies=2", &request{quiet: true, verbose: true, modules: []string{"dummy"}, params: []string{"numdummies=2"}}},
		{"-a a b", &request{modules: []string{"a", "b"}}},
		{"-r a b", &request{remove: true, modules: []string{"a", "b"}}},
		{"--version", &request{version: true}},
		{"-q", nil},
		{"--frobnicate a", nil},
	}
	for _, tt := range tests {
		got, err := parseArgs(strings.Fields(tt.args))
		if (err != nil) != (tt.want == nil) {
			t.Errorf("modprobe %s: error %v", tt.args, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(request{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("modprobe %s (-want +got):\n%s", tt.args, diff)
		}
	}
}

func TestParams(t *testing.T) {
	words := cmdline.Parse(`quiet nvme_core.io_timeout=5 nvme-core.flag other.x=1 nvme_core nvme_core.s="a b"`)
	if diff := cmp.Diff([]string{"io_timeout=5", "flag", `s="a b"`}, Params(words, "nvme_core")); diff != "" {
		t.Errorf("Params (-want +got):\n%s", diff)
	}
}

func TestDryRun(t *testing.T) {
	x := depmodTree(t)
	var stdout bytes.Buffer
	r := request{dry: true, params: []string{"a=1"}}
	lab.Must(t, r.one(x, "netdev-sit0", &stdout))
	var want strings.Builder
	for _, file := range []string{"ipv4/ip-tunnel.ko", "ipv4/tunnel4.ko", "ipv6/sit.ko a=1"} {
		fmt.Fprintf(&want, "insmod %s\n", filepath.Join(x.dir, "kernel/net", file))
	}
	if diff := cmp.Diff(want.String(), stdout.String()); diff != "" {
		t.Errorf("modprobe -n (-want +got):\n%s", diff)
	}
}

func TestUnknownModule(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Command([]string{"no-such-module"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "no-such-module not found") {
		t.Errorf("modprobe no-such-module = %d, %q", code, stderr.String())
	}
	stderr.Reset()
	if code := Command([]string{"-q", "no-such-module"}, &stdout, &stderr); code != 1 || stderr.Len() != 0 {
		t.Errorf("modprobe -q = %d, %q", code, stderr.String())
	}
}

// TestInsertFails needs no kernel of ours: none takes this file for a module.
func TestInsertFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.ko")
	lab.WriteFile(t, file, "no module")
	loaded, err := Insert(file, nil)
	if loaded || err == nil || !strings.HasPrefix(err.Error(), "load "+file+": ") {
		t.Errorf("Insert of a text = %v, %v", loaded, err)
	}
	if _, err := Insert(file+"x", nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Insert of nothing = %v", err)
	}
}

func TestExplain(t *testing.T) {
	tests := []struct {
		err    error
		params []string
		want   string
	}{
		{unix.EKEYREJECTED, nil, "not signed with this kernel's key"},
		{unix.ENOKEY, nil, "not signed with this kernel's key"},
		{unix.ENOEXEC, nil, "another kernel"},
		{unix.EINVAL, []string{"a=x"}, "(a=x)"},
		{unix.EINVAL, nil, "the kernel's log may tell more"},
	}
	for _, tt := range tests {
		if got := explain(tt.err, tt.params); !strings.Contains(got, tt.want) {
			t.Errorf("explain(%v, %q) = %q, want %q in it", tt.err, tt.params, got, tt.want)
		}
	}
}
