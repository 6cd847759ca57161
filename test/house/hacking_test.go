package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// listed matches a line of the list in HACKING.md: a folder, and what it is.
var listed = regexp.MustCompile(`^    +([a-z0-9/-]+)/ +\S`)

// folders returns the folders with files that git knows, two deep: what a person
// sees who looks around. What is below docs and rootfs is no code.
func folders(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var all []string
	for file := range strings.Lines(string(out)) {
		parts := strings.Split(filepath.Dir(strings.TrimSpace(file)), "/")
		if strings.HasPrefix(parts[0], ".") {
			continue
		}
		all = append(all, parts[0])
		if len(parts) > 1 && parts[0] != "rootfs" {
			all = append(all, parts[0]+"/"+parts[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestHackingListsTheHouse(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "HACKING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, house, _ := strings.Cut(string(text), "\n## The house\n")
	house, _, _ = strings.Cut(house, "\n## ")
	var got []string
	for line := range strings.Lines(house) {
		if m := listed.FindStringSubmatch(line); m != nil {
			got = append(got, m[1])
		}
	}
	for _, f := range folders(t) {
		if !slices.Contains(got, f) {
			t.Errorf("HACKING.md, The house, does not list %s/", f)
		}
	}
	for i, f := range got {
		if _, err := os.Stat(filepath.Join(root, f)); err != nil {
			t.Errorf("HACKING.md, The house, lists %s/, which is not there", f)
		}
		if slices.Contains(got[:i], f) {
			t.Errorf("HACKING.md, The house, lists %s/ twice", f)
		}
	}
}
