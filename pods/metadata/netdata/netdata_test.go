package netdata

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
	"kios/pods/network/netconf"
	"kios/test/lab"
)

// TestConvert reads testdata/FORMAT-NAME.in and compares the file, and what is skipped as
// comments after it, with testdata/FORMAT-NAME.want.
func TestConvert(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in")
	if err != nil || len(inputs) < 10 {
		t.Fatalf("%d inputs, %v", len(inputs), err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".in")
		t.Run(name, func(t *testing.T) {
			format, _, _ := strings.Cut(name, "-")
			text := read(t, input)
			file, skipped, err := Convert(&want.Network{Format: format, Text: []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			got := string(file)
			for _, line := range skipped {
				got += "# " + line + "\n"
			}
			if diff := cmp.Diff(read(t, strings.TrimSuffix(input, ".in")+".want"), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			mustParse(t, file)
		})
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

// mustParse demands that the pod network finds no mistake.
func mustParse(t *testing.T, file []byte) {
	t.Helper()
	if _, mistakes := netconf.Parse("network.yaml", file); len(mistakes) > 0 {
		t.Errorf("the pod network says: %v\n%s", mistakes, file)
	}
}

func TestNothing(t *testing.T) {
	if file, skipped, err := Convert(nil); file != nil || skipped != nil || err != nil {
		t.Errorf("Convert(nil) = %q, %q, %v", file, skipped, err)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ format, text, want string }{
		{"ifupdown", "", `the format "ifupdown" is not known`},
		{NoCloud, "version: 3\n", "neither version 1 nor version 2"},
		{NoCloud, "- a\n", "the whole is an array"},
		{NoCloud, "version: 2\nethernets: [a]\n", "cannot unmarshal"},
		{OpenStack, "{", "unexpected end"},
		{DigitalOcean, "[]", "of the type array"},
		{NoCloud, strings.Repeat("#", maxText+1), "more than"},
		{NoCloud, "a: &a " + strings.Repeat("x", 4<<10) + "\nb: [" + strings.Repeat("*a,", 2000) + "]\n", "aliases"},
	} {
		if _, _, err := Convert(&want.Network{Format: tt.format, Text: []byte(tt.text)}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Convert(%s, %.40q) = %v, want %q", tt.format, tt.text, err, tt.want)
		}
	}
}

// TestBounds has more of everything than is taken in.
func TestBounds(t *testing.T) {
	var text strings.Builder
	text.WriteString("version: 2\nethernets:\n")
	for i := range 80 {
		fmt.Fprintf(&text, "  eth%d: {addresses: [", i)
		for j := range 150 {
			fmt.Fprintf(&text, "10.%d.%d.1/24,", i, j)
		}
		text.WriteString("]}\n")
	}
	file, skipped, err := Convert(&want.Network{Format: NoCloud, Text: []byte(text.String())})
	if err != nil {
		t.Fatal(err)
	}
	config, mistakes := netconf.Parse("network.yaml", file)
	if len(mistakes) > 0 || len(config.Interfaces) != maxInterfaces || len(config.Interfaces["eth0"].Addresses) != maxItems {
		t.Errorf("%d interfaces, %d addresses, %v", len(config.Interfaces), len(config.Interfaces["eth0"].Addresses), mistakes)
	}
	if len(skipped) != maxSkipped+1 {
		t.Errorf("%d lines of what is skipped", len(skipped))
	}
}

func FuzzConvert(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*.in")
	for _, input := range inputs {
		text, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		format, _, _ := strings.Cut(filepath.Base(input), "-")
		f.Add(format, text)
	}
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		before := allocated()
		file, skipped, err := Convert(&want.Network{Format: format, Text: text})
		if used := allocated() - before; used > 256<<20 {
			t.Errorf("%d MiB allocated for %d bytes", used>>20, len(text))
		}
		if err == nil && file != nil {
			mustParse(t, file)
		}
		for _, line := range skipped {
			if strings.ContainsAny(line, "\n\x00") {
				t.Errorf("%q is not one line", line)
			}
		}
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// The text that users of KubeVirt paste works.
func TestDocumentation(t *testing.T) {
	page := read(t, filepath.Join(lab.Root(t), "docs/cloud/proxmox.md"))
	_, text, found := strings.Cut(page, "networkData: |\n")
	text, _, ends := strings.Cut(text, "```")
	if !found || !ends {
		t.Fatal("the page has no such text")
	}
	file, skipped, err := Convert(&want.Network{Format: NoCloud, Text: []byte(text)})
	if file == nil || skipped != nil || err != nil {
		t.Errorf("Convert = %q, %q, %v of:\n%s", file, skipped, err, text)
	}
}
