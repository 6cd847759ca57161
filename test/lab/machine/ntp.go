package machine

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/erofs"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// NTP serves this machine's time in the namespace. It leaves that time alone
// (-x). The chronyd is the one of the pod "time": installing one would start it.
func NTP(t testing.TB, namespace string) *netns.Process {
	t.Helper()
	root := t.TempDir()
	Unpack(t, "chrony", root)
	config := "local stratum 5\nallow all\ncmdport 0\nbindcmdaddress /\npidfile /chronyd.pid\n"
	lab.WriteFile(t, filepath.Join(root, "chrony.conf"), config)
	return netns.Start(t, namespace, nil, "chroot", root, "/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", "/chrony.conf")
}

// Unpack extracts a layer of the OS' images, such as "chrony", into a directory. Its
// programs are this machine's, whatever the nodes are.
func Unpack(t testing.TB, title, dir string) {
	t.Helper()
	lab.Must(t, erofs.Extract(t.Context(), layer(t, title), dir, erofs.Tools{}))
}

// layer returns the file of a layer.
func layer(t testing.TB, title string) string {
	t.Helper()
	var contents struct {
		Images []struct {
			Layers []struct{ Title, Digest string }
		}
	}
	host := arch.Host()
	inspect(t, host, &contents)
	for _, image := range contents.Images {
		for _, l := range image.Layers {
			if l.Title == title {
				return lab.OutOf(t, host, "images/blobs/"+strings.Replace(l.Digest, ":", "/", 1))
			}
		}
	}
	t.Fatalf("no image has a layer %s", title)
	return ""
}

// Inspect decodes what "kios inspect --json" says of the nodes' kios.efi.
func Inspect(t testing.TB, v any) {
	t.Helper()
	inspect(t, lab.Arch(t), v)
}

func inspect(t testing.TB, a arch.Arch, v any) {
	t.Helper()
	text, err := exec.Command(lab.Kios(t), "inspect", "--json", lab.OutOf(t, a, "kios.efi")).Output()
	if err != nil {
		t.Fatalf("kios inspect: %v", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("kios inspect --json: %v", err)
	}
}
