package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kios/test/lab"
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

// house is the section of HACKING.md.
func house(t *testing.T) string {
	t.Helper()
	text := lab.ReadFile(t, filepath.Join(root, "HACKING.md"))
	_, section, found := strings.Cut(text, "\n## The house\n")
	if !found {
		t.Fatal("HACKING.md has no section The house")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

func TestHackingListsTheHouse(t *testing.T) {
	var got []string
	for line := range strings.Lines(house(t)) {
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

// step matches a step of a walk: a file and a function in it.
var step = regexp.MustCompile(`^    +([a-z0-9_/-]+\.go):(\w+) +\S`)

func TestWalksLeadSomewhere(t *testing.T) {
	steps := 0
	for line := range strings.Lines(house(t)) {
		m := step.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		steps++
		text, err := os.ReadFile(filepath.Join(root, m[1]))
		if err != nil {
			t.Errorf("HACKING.md names %s, which is not there", m[1])
			continue
		}
		declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + m[2] + `\(`)
		if !declared.Match(text) {
			t.Errorf("HACKING.md names %s in %s, which has no such function", m[2], m[1])
		}
	}
	if steps < 10 {
		t.Errorf("HACKING.md has %d steps of walks, want two walks", steps)
	}
}
