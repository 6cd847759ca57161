package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OOMKills returns how many processes of the cgroup in a directory the kernel has killed
// because memory was short (memory.events in cgroup-v2.rst); 0 if it cannot tell.
func OOMKills(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, "memory.events"))
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "oom_kill "); found {
			count, _ := strconv.Atoi(strings.TrimSpace(value))
			return count
		}
	}
	return 0
}
