package modprobe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/internal/cmdline"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sampleIndex(t *testing.T) *Index {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "kernel/net/ipv4/ip-tunnel.ko:\n" +
			"kernel/net/ipv6/sit.ko: kernel/net/ipv4/tunnel4.ko kernel/net/ipv4/ip-tunnel.ko\n" +
			"kernel/net/ipv4/tunnel4.ko:\nkernel/drivers/nvme.ko:\nkernel/sound/timer.ko:\n",
		"modules.alias": "# Aliases extracted from modules themselves.\n" +
			"alias pci:v*d*sv*sd*bc01sc08i0[2-9]* nvme\nalias netdev-sit0 sit\nalias rtnl-link-sit sit\nalias devname:snd/timer timer\n",
		"modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestResolve(t *testing.T) {
	x := sampleIndex(t)
	tests := []struct {
		name string
		want []string
	}{
		{"sit", []string{"sit"}},
		{"ip-tunnel", []string{"ip_tunnel"}},
		{"ip_tunnel", []string{"ip_tunnel"}},
		{"netdev-sit0", []string{"sit"}},
		{"rtnl_link_sit", []string{"sit"}},
		{"pci:v00001b36d00000010sv00001AF4sd00001100bc01sc08i02", []string{"nvme"}},
		{"pci:v00001b36d00000010sv00001AF4sd00001100bc01sc08i01", nil},
		{"devname:snd/timer", []string{"timer"}},
		{"ext4", []string{"ext4"}},
		{"nothing", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, x.Resolve(tt.name)); diff != "" {
			t.Errorf("Resolve(%q) (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFiles(t *testing.T) {
	x := sampleIndex(t)
	want := []string{"kernel/net/ipv4/ip-tunnel.ko", "kernel/net/ipv4/tunnel4.ko", "kernel/net/ipv6/sit.ko"}
	if diff := cmp.Diff(want, x.Files("sit")); diff != "" {
		t.Errorf("Files(sit) (-want +got):\n%s", diff)
	}
	if got := x.Files("ext4"); len(got) != 0 {
		t.Errorf("Files(ext4) = %q, want none: it is built in", got)
	}
}

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

func TestParamsFor(t *testing.T) {
	words := cmdline.Parse("quiet nvme_core.io_timeout=5 nvme-core.flag other.x=1 nvme_core")
	if diff := cmp.Diff([]string{"io_timeout=5", "flag"}, paramsFor("nvme_core", words)); diff != "" {
		t.Errorf("paramsFor (-want +got):\n%s", diff)
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
