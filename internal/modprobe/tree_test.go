package modprobe

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/test/lab"
)

// source is a module as far as depmod looks at it.
type source struct {
	file    string
	modinfo []string
	exports string // a symbol
	needs   []string
}

// code returns assembler: depmod reads the section .modinfo, the names in
// __ksymtab_strings and which symbols are undefined.
func (s source) code() string {
	var b strings.Builder
	b.WriteString(".section .modinfo,\"a\"\n")
	for _, info := range append(s.modinfo, "name="+ModuleName(s.file)) {
		fmt.Fprintf(&b, ".asciz %q\n", info)
	}
	if s.exports != "" {
		fmt.Fprintf(&b, ".section __ksymtab_strings,\"a\"\n.asciz %q\n", s.exports)
	}
	b.WriteString(".text\n")
	for _, symbol := range s.needs {
		fmt.Fprintf(&b, ".quad %s\n", symbol)
	}
	return b.String()
}

var sources = []source{
	{file: "kernel/net/ipv4/ip-tunnel.ko", exports: "ip_tunnel_xmit"},
	{file: "kernel/net/ipv4/tunnel4.ko", exports: "xfrm4_tunnel_register", needs: []string{"ip_tunnel_xmit"}},
	{file: "kernel/net/ipv6/sit.ko", needs: []string{"xfrm4_tunnel_register", "ip_tunnel_xmit"}, modinfo: []string{"alias=netdev-sit0", "alias=rtnl-link-sit"}},
	{file: "kernel/drivers/nvme/host/nvme.ko", modinfo: []string{"alias=pci:v*d*sv*sd*bc01sc08i0[2-9]*", "alias=pci:v0000106Bd00002001sv*sd*bc*sc*i*"}},
	{file: "kernel/drivers/net/e1000e.ko", modinfo: []string{"alias=pci:v00008086d000010D3sv*sd*bc*sc*i*"}},
	{file: "kernel/drivers/net/rival.ko", modinfo: []string{"alias=pci:v00008086d*sv*sd*bc02sc*i*"}},
	{file: "kernel/sound/core/timer.ko", modinfo: []string{"alias=devname:snd/timer"}},
	{file: "kernel/fs/btrfs/btrfs.ko", modinfo: []string{"softdep=pre: crypto-xxhash post: zstd-late missing"}},
	{file: "kernel/crypto/xxhash-generic.ko", modinfo: []string{"alias=crypto-xxhash", "softdep=pre: btrfs"}},
	{file: "kernel/lib/zstd-late.ko"},
}

// depmodTree makes a tree as the kernel's "make modules_install" does.
func depmodTree(t testing.TB) *Tree {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "lib/modules/6.18.0-test")
	for _, s := range sources {
		file := filepath.Join(dir, s.file)
		lab.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		cmd := exec.Command("gcc", "-c", "-x", "assembler", "-o", file, "-")
		cmd.Stdin = strings.NewReader(s.code())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("assemble %s: %v\n%s", s.file, err, out)
		}
	}
	for name, text := range map[string]string{
		"modules.order":           "",
		"modules.builtin":         "kernel/fs/ext4/ext4.ko\nkernel/net/netfilter/nf_conntrack.ko\n",
		"modules.builtin.modinfo": "ext4.license=GPL\x00ext4.alias=fs-ext4\x00nf_conntrack.alias=nf_conntrack-1\x00",
	} {
		lab.WriteFile(t, filepath.Join(dir, name), text)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // an ordinary user's PATH lacks these
	if out, err := exec.Command("depmod", "-b", base, "6.18.0-test").CombinedOutput(); err != nil {
		t.Fatalf("depmod (apt-get install kmod): %v\n%s", err, out)
	}
	return Open(dir)
}

func TestResolve(t *testing.T) {
	x := depmodTree(t)
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
		{"pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00", []string{"e1000e", "rival"}},
		{"devname:snd/timer", []string{"timer"}},
		{"symbol:ip_tunnel_xmit", []string{"ip_tunnel"}},
		{"ext4", []string{"ext4"}},
		{"fs-ext4", []string{"ext4"}},
		{"nothing", nil},
		{"si", nil},
		{"sit0", nil},
		{"", nil},
	}
	for _, tt := range tests {
		got, err := x.Resolve(tt.name)
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("Resolve(%q) (-want +got): %v\n%s", tt.name, err, diff)
		}
	}
}

func TestAliases(t *testing.T) {
	both := "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00"
	nvme := "pci:v0000106Bd00002001sv00000000sd00000000bc00sc00i00"
	got, err := depmodTree(t).Aliases([]string{nvme, "acpi:PNP0303:", both, "usb:v1"})
	lab.Must(t, err)
	want := map[string][]string{both: {"e1000e", "rival"}, nvme: {"nvme"}}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("Aliases (-want +got):\n%s", diff)
	}
}

func TestPlan(t *testing.T) {
	x := depmodTree(t)
	tests := []struct {
		module string
		want   []string
	}{
		{"sit", []string{"ip-tunnel.ko", "tunnel4.ko", "sit.ko"}},
		{"btrfs", []string{"xxhash-generic.ko soft", "btrfs.ko", "zstd-late.ko soft"}},
		{"ext4", nil},
		{"nothing", nil},
	}
	for _, tt := range tests {
		steps, err := x.Plan(tt.module)
		lab.Must(t, err)
		var got []string
		for _, s := range steps {
			if _, err := os.Stat(s.File); err != nil || s.Module != ModuleName(s.File) {
				t.Errorf("step %+v: %v", s, err)
			}
			text := filepath.Base(s.File)
			if s.Soft {
				text += " soft"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Plan(%s) (-want +got):\n%s", tt.module, diff)
		}
	}
}

// TestReadsLittle holds that a name that is found in modules.dep costs no look
// at the aliases, which are most of the lists.
func TestReadsLittle(t *testing.T) {
	x := depmodTree(t)
	lab.Must(t, os.Remove(filepath.Join(x.dir, "modules.alias")))
	lab.Must(t, os.Mkdir(filepath.Join(x.dir, "modules.alias"), 0o755))
	for _, name := range []string{"sit", "ext4"} {
		if got, err := x.Resolve(name); err != nil || len(got) != 1 {
			t.Errorf("Resolve(%s) = %q, %v", name, got, err)
		}
	}
	if _, err := x.Resolve("netdev-sit0"); err == nil {
		t.Error("the test does not notice when the aliases are read")
	}
}

func TestNoTree(t *testing.T) {
	x := Open(t.TempDir())
	if err := x.Exists(); !os.IsNotExist(err) {
		t.Errorf("Exists = %v", err)
	}
	if _, err := x.Resolve("a"); !os.IsNotExist(err) {
		t.Errorf("Resolve = %v", err)
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"a*c", "abbbc", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"*", "", true},
		{"a?c", "a/c", true},
		{"a?c", "ac", false},
		{"i0[2-9]*", "i02", true},
		{"i0[2-9]*", "i01", false},
		{"[]x]", "]", true},
		{"[!a-c]", "d", true},
		{"[!a-c]", "b", false},
		{"[ab", "a", false},
		{"dmi*:svnDell_Inc.:*", "dmi:bvnX:svnDell_Inc.:pn:", true},
	}
	for _, tt := range tests {
		if got := match([]byte(tt.pattern), tt.name); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

// FuzzMatch compares with path.Match, which differs in what slashes and
// backslashes mean, what a bracket may hold and that it knows bad patterns.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?[c-e]", "aXXbYd")
	f.Add("**a*?*", "bbabab")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := match([]byte(pattern), name)
		if strings.ContainsAny(pattern+name, "/\\[]") || strings.ContainsFunc(pattern+name, func(r rune) bool { return r > 126 }) {
			return // it must only not crash
		}
		want, err := path.Match(pattern, name)
		if err == nil && got != want {
			t.Errorf("match(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}
