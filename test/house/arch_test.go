package house

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kios/test/lab"
)

// architecture matches the names of architectures that have a meaning in code.
var architecture = regexp.MustCompile(`amd64|arm64|x86_64|x86-64|aarch64|GOARCH`)

// flag matches an example of how a command is called, in its help.
var flag = regexp.MustCompile(`--arch(-[a-z]+)? \w+`)

// namesArchitectures are the files that may name one, each with the reason. All else asks
// host/arch, or does the same on all of them.
var namesArchitectures = map[string]string{
	"host/hosttool/fingerprint.go": "looks in the directories of all of them",
	"init/systembus/systemd1.go":   "says what systemd calls the node's",
}

// ofOneArchitecture reports whether the go command leaves a file out for others, or it is
// a test, which may say what it expects.
func ofOneArchitecture(path string) bool {
	name := strings.TrimSuffix(filepath.Base(path), ".go")
	return strings.HasPrefix(path, "host/arch/") ||
		slices.ContainsFunc([]string{"_test", "_amd64", "_arm64"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// A third architecture is a value in host/arch, and nothing that has to be looked for.
func TestOnlyHostArchNamesArchitectures(t *testing.T) {
	found := map[string]bool{}
	for _, room := range []string{"host", "init", "internal", "pods", "test"} {
		err := filepath.WalkDir(filepath.Join(root, room), func(full string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(full) != ".go" {
				return err
			}
			path, err := filepath.Rel(root, full)
			if err != nil || ofOneArchitecture(path) {
				return err
			}
			word := architecture.FindString(flag.ReplaceAllString(lab.ReadFile(t, full), ""))
			found[path] = word != ""
			if word != "" && namesArchitectures[path] == "" {
				t.Errorf("%s says %s: make it a field of host/arch, or use a file that ends with the architecture", path, word)
			}
			return nil
		})
		lab.Must(t, err)
	}
	for path := range namesArchitectures {
		if !found[path] {
			t.Errorf("%s names no architecture: take it off the list", path)
		}
	}
}
