package trial

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// etcWith makes a directory with files.
func etcWith(t *testing.T, files map[string]string) string {
	t.Helper()
	etc := t.TempDir()
	for name, text := range files {
		lab.WriteFile(t, filepath.Join(etc, name), text)
	}
	return etc
}

func names(s Set) []string { return slices.Sorted(maps.Keys(s)) }

var containerd = Sources{Tree: "containerd", Except: "containerd/certs.d", Imports: ContainerdImports}

func TestRead(t *testing.T) {
	etc := etcWith(t, map[string]string{
		"kubernetes/config.yaml":                "a",
		"kubernetes/config.d/10.yaml":           "b",
		"kubernetes/config.d/20.conf":           "c",
		"kubernetes/config.d/README":            "d",
		"kubernetes/kubelet.conf":               "e",
		"containerd/config.toml":                "imports = ['/etc/extra/*.toml', \"conf.d/*.toml\"]",
		"containerd/conf.d/10.toml":             "f",
		"containerd/conf.d/.10.toml.kios-00000": "g",
		"containerd/certs.d/x/hosts.toml":       "h",
		"extra/a.toml":                          "i",
		"extra/b.txt":                           "j",
		"elsewhere/deep/x":                      "k",
	})
	for link, target := range map[string]string{
		"kubernetes/node-labels": "../extra/b.txt", "kubernetes/node-ip": "nowhere",
		"containerd/linked": "../elsewhere", "containerd/conf.d/loop": ".",
	} {
		lab.Must(t, os.Symlink(target, filepath.Join(etc, link)))
	}
	kubelet := Sources{Names: []string{"kubernetes/config.yaml", "kubernetes/config.d/*.yaml", "kubernetes/config.d/*.conf", "kubernetes/node-labels", "kubernetes/node-ip", "gone/*"}}
	set := kubelet.Read(etc)
	want := []string{"kubernetes/config.d/10.yaml", "kubernetes/config.d/20.conf", "kubernetes/config.yaml", "kubernetes/node-labels"}
	if diff := cmp.Diff(want, names(set)); diff != "" || len(set.Odd()) > 0 || string(set["kubernetes/node-labels"].text) != "j" {
		t.Errorf("the kubelet's (-want +got):\n%s; %q", diff, set.Odd())
	}
	set = containerd.Read(etc)
	for _, name := range []string{"containerd/config.toml", "containerd/conf.d/10.toml", "containerd/linked/deep/x", "extra/a.toml"} {
		if _, there := set[name]; !there {
			t.Errorf("%s is not in %q", name, names(set))
		}
	}
	for name := range set {
		if strings.Contains(name, "certs.d") || strings.Contains(name, "kios-") || name == "extra/b.txt" {
			t.Errorf("%s is in the set", name)
		}
	}
	if odd := set.Odd(); len(odd) == 0 || !strings.Contains(odd[0], "too deep") {
		t.Errorf("Odd = %q, want the loop", odd)
	}
}

// What a stranger puts there is bounded, and does not hold anybody up. The same strange
// thing twice is no change.
func TestReadOfStrangeThings(t *testing.T) {
	etc := etcWith(t, map[string]string{"kubernetes/large.yaml": ""})
	lab.Must(t, os.Truncate(filepath.Join(etc, "kubernetes/large.yaml"), maxFile+1))
	lab.Must(t, unix.Mkfifo(filepath.Join(etc, "kubernetes/fifo.yaml"), 0o600))
	lab.Must(t, os.Mkdir(filepath.Join(etc, "kubernetes/dir.yaml"), 0o700))
	s := Sources{Names: []string{"kubernetes/*.yaml"}}
	set := s.Read(etc)
	if odd := set.Odd(); len(odd) != 3 || len(set) != 3 {
		t.Errorf("Odd = %q of %q, want all three", odd, names(set))
	}
	if again := s.Read(etc); !set.Equal(again) {
		t.Errorf("%q differ, though nothing changed", set.Differing(again))
	}
	lab.Must(t, os.Truncate(filepath.Join(etc, "kubernetes/large.yaml"), maxFile+2))
	if got := set.Differing(s.Read(etc)); !slices.Equal(got, []string{"kubernetes/large.yaml"}) {
		t.Errorf("Differing = %q, want the large file that has changed", got)
	}
}

// A named pipe in the place of a directory is not waited for.
func TestReadOfAPipe(t *testing.T) {
	etc := etcWith(t, nil)
	lab.Must(t, unix.Mkfifo(filepath.Join(etc, "pipe"), 0o600))
	for _, s := range []Sources{{Names: []string{"pipe/*.yaml"}}, {Tree: "pipe"}} {
		if set := s.Read(etc); len(set) != 0 {
			t.Errorf("Read = %q", names(set))
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	etc := etcWith(t, nil)
	lab.Must(t, os.MkdirAll(filepath.Join(etc, "containerd/many"), 0o700))
	for i := range maxFiles + 10 {
		lab.WriteFile(t, filepath.Join(etc, fmt.Sprintf("containerd/many/%d.toml", i)), "")
	}
	if set := containerd.Read(etc); len(set) > maxFiles+2 || len(set.Odd()) == 0 {
		t.Errorf("%d entries, %q, want at most %d and a word", len(set), set.Odd(), maxFiles+2)
	}
	lab.Must(t, os.RemoveAll(filepath.Join(etc, "containerd/many")))
	for i := range 6 {
		lab.WriteFile(t, filepath.Join(etc, fmt.Sprintf("containerd/%d.toml", i)), strings.Repeat("x", maxFile))
	}
	size := 0
	set := containerd.Read(etc)
	for _, f := range set {
		size += len(f.text)
	}
	if size > maxSet || len(set.Odd()) == 0 {
		t.Errorf("%d bytes, %q, want at most %d and a word", size, set.Odd(), maxSet)
	}
}

// Links that lead back make many names of few directories.
func TestReadOfLinksThatLeadBack(t *testing.T) {
	etc := etcWith(t, map[string]string{"containerd/config.toml": ""})
	for i := range 8 {
		lab.Must(t, os.Symlink(".", filepath.Join(etc, fmt.Sprintf("containerd/%d", i))))
	}
	set := containerd.Read(etc)
	if len(set) > maxFiles+2 || !strings.Contains(strings.Join(set.Odd(), "\n"), "too many directories") {
		t.Errorf("%d entries, %d odd, want at most %d and a word", len(set), len(set.Odd()), maxFiles+2)
	}
	if !set.Equal(containerd.Read(etc)) {
		t.Error("two looks at the same files differ")
	}
	for i := range 18 * 18 * 18 { // directories with nothing else in them
		lab.Must(t, os.MkdirAll(filepath.Join(etc, fmt.Sprintf("empty/%d/%d/%d", i%18, i/18%18, i/18/18)), 0o700))
	}
	r := reader{etc: etc, set: Set{}}
	if r.walk("empty", "", 0); r.names > maxNames+maxFiles+1 {
		t.Errorf("%d names are looked at, want some %d", r.names, maxNames)
	}
}

func TestContainerdImports(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		"version = 3\nimports = [\"/etc/a.toml\", '/etc/b/*.toml',\n  \"/etc/containerd/conf.d/*.toml\", \"c.toml\", \"/opt/d.toml\"]\n": {"a.toml", "b/*.toml"},
		"imports=[]\nx = \"/etc/e\"\n":                    nil,
		"# imports = [\"/etc/commented\"]\n":              {"commented"}, // one more file to look at does no harm
		"imports = [\"/etc/../root/shadow\", \"/etc//\"]": nil,
		"imports = [\"/etc/unclosed":                      nil,
		"imports":                                         nil,
		"my_imports_are = \"[\"\nimports = 'x'":           nil,
	} {
		if diff := cmp.Diff(want, ContainerdImports([]byte(text))); diff != "" {
			t.Errorf("ContainerdImports(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzContainerdImports(f *testing.F) {
	f.Add([]byte("imports = [\"/etc/a.toml\", '/etc/b/*.toml']"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, name := range ContainerdImports(text) {
			if !filepath.IsLocal(name) {
				t.Errorf("%q is not below /etc", name)
			}
		}
	})
}
