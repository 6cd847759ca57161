//go:build root

package chrony

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// A user's resolv.conf can be a copy of the pod network's, first line and all. It is in
// /etc, and not in memory, and counts as it is.
func TestCopyOfTheNetworksResolvConf(t *testing.T) {
	dir := t.TempDir()
	s := &Service{Etc: filepath.Join(dir, "etc"), NetworkDir: filepath.Join(dir, "run")}
	lab.Must(t, os.Mkdir(s.Etc, 0o755))
	lab.Must(t, os.Mkdir(s.NetworkDir, 0o755))
	lab.Must(t, unix.Mount("tmpfs", s.NetworkDir, "tmpfs", 0, ""))
	t.Cleanup(func() { lab.Must(t, unix.Unmount(s.NetworkDir, 0)) })
	const users, networks = ours + "nameserver 192.0.2.1\n", ours + "nameserver 192.0.2.2\n"
	etc, network := filepath.Join(s.Etc, "resolv.conf"), filepath.Join(s.NetworkDir, "resolv.conf")
	lab.Must(t, os.WriteFile(etc, []byte(users), 0o644))
	lab.Must(t, os.WriteFile(network, []byte(networks), 0o644))
	if got, err := s.hostResolvConf(); err != nil || string(got) != users {
		t.Errorf("with a copy: %q, %v, want %q", got, err, users)
	}
	lab.Must(t, os.Remove(etc))
	lab.Must(t, os.Symlink(network, etc))
	if got, err := s.hostResolvConf(); err != nil || string(got) != networks {
		t.Errorf("with the link: %q, %v, want %q", got, err, networks)
	}
}
