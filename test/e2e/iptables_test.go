//go:build image

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"kios/host/debimage"
	"kios/host/oci"
	"kios/test/lab"
	"kios/test/lab/machine"
)

// chooser does what images with an iptables of their own do at their start: if the rules of
// nftables have a chain that kubelets make, it takes the iptables that writes these, and
// else the one for the kernel's older tables. Afterwards it removes the chain, to show that
// it makes the difference.
const chooser = `#!/bin/sh
choose() {
	if "$1-nft-save" -t mangle 2>/dev/null | grep -q '^:KUBE-IPTABLES-HINT '
	then echo "$1-nft"
	else echo "$1-legacy"
	fi
}
for program in iptables ip6tables
do
	chosen="$chosen $(choose $program)"
	"$program-nft" -t mangle -X KUBE-IPTABLES-HINT
	chosen="$chosen $(choose $program)"
done
echo "chosen:$chosen"
`

// iptablesImage writes an archive of an image with Debian's iptables.
func iptablesImage(t *testing.T) string {
	t.Helper()
	files, err := debimage.Collect(lab.Arch(t), machine.Debian(t, "dash", "grep", "iptables"), []string{
		"/bin/sh", "/bin/grep", "/usr/sbin/iptables-nft", "/usr/sbin/iptables-nft-save", "/usr/sbin/ip6tables-nft", "/usr/sbin/ip6tables-nft-save",
	})
	lab.Must(t, err)
	archive := filepath.Join(t.TempDir(), "iptables.tar")
	lab.Must(t, oci.Write(archive, oci.Image{
		Name:         "kios.local/iptables:1",
		Architecture: lab.Arch(t).Name,
		Files:        append(files, oci.File{Path: "/choose", Mode: 0o555, Data: []byte(chooser)}),
		Entrypoint:   []string{"/usr/bin/sh", "/choose"},
		Env:          []string{"PATH=/usr/sbin:/usr/bin"},
	}))
	return archive
}

// iptablesPod has what kube-proxy and network plugins have.
var iptablesPod = strings.Replace(
	work("iptables", "", ", securityContext: {privileged: true}", ", restartPolicy: OnFailure"), "workload:1", "iptables:1", 1)

// checkIPTables demands that such a pod writes rules where the kernel has tables for them.
func checkIPTables(t *testing.T, n *node) {
	const want = "chosen: iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy"
	if got := n.ended("iptables"); !strings.Contains(got, want) {
		t.Errorf("a pod with an iptables of its own: %q, want %q", got, want)
	}
}
