package metadata

import (
	"testing"

	"kios/pods/metadata/want"
)

func TestDisks(t *testing.T) {
	for disks, text := range map[string]string{"": "", "one": "device: instance-store\n", "striped": "device: instance-store\nstriped: true\n"} {
		files := (&reading{node: &want.Node{DataDisks: disks}}).disks()
		switch {
		case text == "" && len(files) == 0:
		case len(files) != 1 || files[0].Path != "/etc/kios/disk.yaml" || string(files[0].Content) != text || !files[0].Default:
			t.Errorf("%q: %+v, want a default with %q", disks, files, text)
		}
	}
}
