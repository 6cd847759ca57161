package userconfig

import (
	"fmt"

	"github.com/containerd/containerd/v2/version"
)

// keepSnapshots has CRI's keys about snapshots outlast the migration: without a table of
// runtimes it does not get to them (migrateConfig of containerd's plugins/cri/images).
func keepSnapshots(t tree) {
	for _, section := range []string{"cri", criServer} {
		v, _ := lookup(t, "plugins", section, "containerd")
		if containerd, ok := v.(tree); ok && containerd["runtimes"] == nil {
			containerd["runtimes"] = tree{}
		}
	}
}

// maxMigrated bounds how often a file is migrated to find what is lost.
const maxMigrated = 16

// checkMigration names what is lost when a file is brought up to the current version.
func (c *checker) checkMigration(file string, old, migrated tree) {
	if v, _ := old["version"].(int64); v >= version.ConfigVersion {
		return
	}
	for _, l := range c.lost(old, migrated) {
		c.sayUnused(file, l, fmt.Sprintf("it is lost when containerd brings the file up to version %d of the format: write the file in that version", version.ConfigVersion))
	}
}

// lost returns the keys of plugins without which the file migrates to the same. Only those
// are tried whose name and value are not found after it.
func (c *checker) lost(old, migrated tree) (keys []leaf) {
	found := map[string]int{}
	for _, l := range leaves(migrated) {
		found[mark(l)]++
	}
	before := leaves(old)
	for _, l := range before {
		found[mark(l)]--
	}
	tries := 0
	for _, l := range before {
		if found[mark(l)] >= 0 || l.path[0] != "plugins" || saysNothing(l) {
			continue
		}
		if tries++; tries > maxMigrated {
			break
		}
		rest := clone(old)
		remove(rest, l.path...)
		if t, err := c.loadTree(rest); err == nil && same(t, migrated) {
			keys = append(keys, l)
		}
	}
	return keys
}

func mark(l leaf) string { return fmt.Sprintf("%q %v", l.path[len(l.path)-1], l.value) }
