//go:build root

package place

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// The kubeconfig is not written while something before it is missing. When there is space
// again, all is.
func TestFullDisk(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.root, "etc/kubernetes")
	lab.Must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=12k"))
	t.Cleanup(func() { lab.Must(t, unix.Unmount(dir, 0)) })
	m, w := machine, full()
	if _, err := Apply(n.root, &m, &w, cluster, network); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Apply = %v, want %v", err, unix.ENOSPC)
	}
	if _, err := os.Stat(filepath.Join(n.root, bootstrapPath)); err == nil {
		t.Error("the kubeconfig is there")
	}
	n.write(bootstrapPath, "") // as an earlier one would be
	if Settled(n.root, &m, &w) {
		t.Error("with files missing, the node is settled")
	}
	lab.Must(t, os.Remove(filepath.Join(n.root, bootstrapPath)))
	lab.Must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=1m"))
	n.apply(machine, full(), cluster, network)
	n.has(files())
}
