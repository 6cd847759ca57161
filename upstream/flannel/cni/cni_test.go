package cni

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// paths makes an image with a plugin and what that needs, and an empty host.
func paths(t *testing.T) Paths {
	t.Helper()
	root := t.TempDir()
	p := Paths{
		Plugins: filepath.Join(root, "image"), Bin: filepath.Join(root, "opt/cni/bin"),
		Etc: filepath.Join(root, "etc/cni/net.d"), Run: filepath.Join(root, "run/flannel"),
	}
	write(t, filepath.Join(p.Plugins, "ptp"), "program")
	write(t, filepath.Join(p.Plugins, ".nft/library"), "library")
	if err := os.MkdirAll(p.Bin, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// files lists what is below dir, with modes.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		relative, _ := filepath.Rel(dir, path)
		all[relative] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInstall(t *testing.T) {
	p := paths(t)
	write(t, filepath.Join(p.Bin, "cilium"), "somebody else's")
	write(t, filepath.Join(p.Bin, "ptp"), "an old one")
	running, err := os.Open(filepath.Join(p.Bin, "ptp"))
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	for range 2 {
		if err := Install(p); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"cilium": "-r--r--r--", "ptp": "-rwxr-xr-x", ".nft/library": "-rwxr-xr-x"}
	if d := cmp.Diff(want, files(t, p.Bin)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if got := read(t, filepath.Join(p.Bin, "ptp")); got != "program" {
		t.Errorf("ptp = %q, want the new one", got)
	}
	old := make([]byte, 10)
	if _, err := running.Read(old); err != nil || string(old) != "an old one" {
		t.Errorf("one that is open = %q, %v, want it unchanged", old, err)
	}
}

func TestInstallErrors(t *testing.T) {
	p := paths(t)
	p.Plugins += "/missing"
	if err := Install(p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Install from nowhere = %v, want %v", err, fs.ErrNotExist)
	}
	p = paths(t)
	if err := os.MkdirAll(filepath.Join(p.Bin, "ptp/in/the/way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install(p); err == nil {
		t.Error("Install over a directory = nil, want an error")
	}
	if left := files(t, p.Bin); len(left) > 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestConfigure(t *testing.T) {
	p := paths(t)
	for _, subnet := range []string{"10.244.3.0/24", "10.244.4.0/24"} {
		if err := Configure(p, subnet, 1450); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(p.Etc, "10-flannel.conflist")
		if to, err := os.Readlink(link); err != nil || to != filepath.Join(p.Run, "10-flannel.conflist") {
			t.Errorf("%s leads to %q, %v, want the file in run", link, to, err)
		}
		want := `{
		  "cniVersion": "1.0.0", "name": "flannel",
		  "plugins": [
		    {"type": "ptp", "mtu": 1450, "ipam": {
		      "type": "host-local", "dataDir": "` + p.Run + `/addresses",
		      "ranges": [[{"subnet": "` + subnet + `"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		    {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}
		  ]}`
		if d := cmp.Diff(decode(t, want), decode(t, read(t, link))); d != "" {
			t.Errorf("configuration (-want +got):\n%s", d)
		}
	}
	// Nothing but the link, which containerd would take for configuration, too.
	if got := files(t, p.Etc); len(got) != 1 {
		t.Errorf("files in etc: %v, want one", got)
	}
}

func decode(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
