package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"

	"golang.org/x/sys/unix"
)

func TestResolverLink(t *testing.T) {
	const own = "nameserver 192.0.2.1\n"
	const copied = resolvHead + ". To use a file of your own, put it in place of the link /etc/resolv.conf.\n" + own
	for name, tc := range map[string]struct {
		before func(r resolver) error
		stays  bool
		line   string
	}{
		"absent": {func(resolver) error { return nil }, false, ""},
		"ours":   {func(r resolver) error { return os.Symlink(resolvLink, r.etc()) }, false, ""},
		"of old": {func(r resolver) error {
			return os.WriteFile(r.etc(), []byte("# Written by kiOS from DHCP. Without this line, the file is yours and stays as it is.\n"+own), 0o644)
		}, false, ""},
		"users":   {func(r resolver) error { return os.WriteFile(r.etc(), []byte(own), 0o644) }, true, ""},
		"ubuntu":  {func(r resolver) error { return os.Symlink("../run/systemd/resolve/stub-resolv.conf", r.etc()) }, false, "it is a link to ../run/systemd/resolve/stub-resolv.conf, which is not there; the name servers of the network are used"},
		"a loop":  {func(r resolver) error { return os.Symlink("resolv.conf", r.etc()) }, false, "is not used"},
		"no file": {func(r resolver) error { return os.Mkdir(r.etc(), 0o755) }, false, "it is no file"},
		"a FIFO":  {func(r resolver) error { return unix.Mkfifo(r.etc(), 0o644) }, false, "it is no file"},
		"a copy":  {func(r resolver) error { return os.WriteFile(r.etc(), []byte(copied), 0o644) }, true, ""},
		"of no address": {func(r resolver) error {
			return os.WriteFile(r.etc(), []byte("# mine\n nameserver \t\n"+own), 0o644)
		}, false, "line 2 has no address: write nameserver ADDRESS; the name servers of the network are used"},
		"large":                  {func(r resolver) error { return os.WriteFile(r.etc(), make([]byte, resolvLength+1), 0o644) }, false, "it is too large"},
		"a link to the kernel's": {func(r resolver) error { return os.Symlink("/proc/version", r.etc()) }, false, "it is the kernel's"},
		"users link": {func(r resolver) error {
			return os.Symlink("my.conf", r.etc())
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n, log := node(t)
			r := resolver{t.TempDir()}
			lab.WriteFile(t, filepath.Join(r.root, "etc/my.conf"), own)
			lab.Must(t, tc.before(r))
			n.linkResolver(r)
			want := resolvPlain
			if tc.stays {
				want = own
			}
			if got := lab.ReadFile(t, r.etc()); !strings.HasSuffix(got, want) {
				t.Errorf("resolv.conf is %q, want %q", got, want)
			}
			if target, _ := os.Readlink(r.etc()); (target == resolvLink) == tc.stays {
				t.Errorf("resolv.conf leads to %q", target)
			}
			if (tc.line == "") != (log.Len() == 0) || !strings.Contains(log.String(), tc.line) {
				t.Errorf("log = %q, want %q", log, tc.line)
			}
		})
	}
}

// Pods that start before the network has answered find the servers of the boot before.
func TestResolverOfTheBootBefore(t *testing.T) {
	const servers = resolvHead + "\nnameserver 192.0.2.9\n"
	for _, tc := range []struct{ last, want string }{
		{servers, servers},
		{"", resolvPlain}, // after a power cut
		{"nameserver 192.0.2.9\n", resolvPlain},
	} {
		n, _ := node(t)
		r := resolver{t.TempDir()}
		lab.Must(t, os.MkdirAll(filepath.Dir(r.etc()), 0o755))
		lab.WriteFile(t, r.last(), tc.last)
		n.linkResolver(r)
		if got := lab.ReadFile(t, r.etc()); got != tc.want {
			t.Errorf("after %q: %q, want %q", tc.last, got, tc.want)
		}
	}
	n, _ := node(t)
	r := resolver{t.TempDir()}
	lab.WriteFile(t, r.network(), servers)
	lab.WriteFile(t, r.last(), "# Written by kiOS\nnameserver 192.0.2.1\n")
	lab.Must(t, os.MkdirAll(filepath.Dir(r.etc()), 0o755))
	n.linkResolver(r)
	if got := lab.ReadFile(t, r.etc()); got != servers {
		t.Errorf("what the network wrote in this boot became %q", got)
	}
}
