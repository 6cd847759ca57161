package netlab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/erofs"
)

// NTP serves this machine's time in the namespace. It leaves that time alone
// (-x). The chronyd is the one of the pod "time": installing one would start it.
func NTP(t *testing.T, namespace string) *Process {
	t.Helper()
	root := t.TempDir()
	if err := erofs.Extract(t.Context(), layer(t, "chrony"), root, erofs.Tools{}); err != nil {
		t.Fatal(err)
	}
	config := "local stratum 5\nallow all\ncmdport 0\nbindcmdaddress /\npidfile /chronyd.pid\n"
	if err := os.WriteFile(filepath.Join(root, "chrony.conf"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return Start(t, namespace, nil, "chroot", root, "/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", "/chrony.conf")
}

// layer returns the file of a layer of the OS' images, in the product of "kios
// build" as a test two directories below the root finds it.
func layer(t *testing.T, title string) string {
	t.Helper()
	text, err := exec.Command("../../_out/kios", "inspect", "--json", "../../_out/amd64/kios.efi").Output()
	if err != nil {
		t.Fatalf("kios inspect: %v", err)
	}
	var contents struct {
		Images []struct {
			Layers []struct{ Title, Digest string }
		}
	}
	if err := json.Unmarshal(text, &contents); err != nil {
		t.Fatalf("kios inspect --json: %v", err)
	}
	for _, image := range contents.Images {
		for _, l := range image.Layers {
			if l.Title == title {
				return "../../_out/amd64/images/blobs/" + strings.Replace(l.Digest, ":", "/", 1)
			}
		}
	}
	t.Fatalf("no image has a layer %s", title)
	return ""
}
