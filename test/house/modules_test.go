package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kios/test/lab"
)

// required matches a module of ours in a go.mod file.
var required = regexp.MustCompile(`(?m)^(?:require|\t)\s*(kios(?:/\S*)?) v`)

// The programs of upstream/ are compiled with the versions that their own projects
// tested. A module of ours with requirements of its own would change these.
func TestUpstreamRequiresNothingWithRequirements(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "upstream/*/*.mod"))
	if err != nil || len(files) == 0 {
		t.Fatalf("modules in upstream/: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		lab.Must(t, err)
		for _, m := range required.FindAllStringSubmatch(string(text), -1) {
			if m[1] != "kios/internal/wholefile" {
				t.Errorf("%s requires %s: only internal/wholefile is free of requirements", file, m[1])
			}
		}
	}
}

func TestWholefileRequiresNothing(t *testing.T) {
	cmd := exec.Command("go", "list", "-m", "all")
	cmd.Dir = filepath.Join(root, "internal/wholefile")
	out, err := cmd.Output()
	lab.Must(t, err)
	if got := strings.TrimSpace(string(out)); got != "kios/internal/wholefile" {
		t.Errorf("internal/wholefile requires more than Go's own packages:\n%s", got)
	}
}
