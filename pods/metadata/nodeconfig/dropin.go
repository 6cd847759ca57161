package nodeconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/userfile"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// dropIns is the directory with NodeConfigs that count in place of those of the user data.
// It has no meaning without any there.
const dropIns = "etc/eks/nodeadm.d"

// maxDropIns are the files that are read, by name.
const maxDropIns = 64

// readDropIns reads them. One with a mistake does not keep others from counting.
func (c *Collector) readDropIns(m *want.Machine, n *want.Node) error {
	var mistakes bounded.Mistakes
	names := configFiles(filepath.Join("/", c.Root, dropIns))
	for i, name := range names {
		if i == maxDropIns {
			n.Skip("/%s: %.100q and those after it are not used: no more than %d are read", dropIns, name, maxDropIns)
			break
		}
		text, err := userfile.Read(filepath.Join("/", c.Root, dropIns, name), bounded.MaxText)
		if err == nil {
			err = c.Read(text, m, n)
		}
		if err != nil {
			mistakes.Add(fmt.Errorf("/%s/%s: %w", dropIns, name, userfile.Reason(err)))
		}
	}
	return mistakes.Err()
}

// configFiles returns the names in a directory that are for NodeConfigs, in order.
func configFiles(dir string) []string {
	entries, _ := os.ReadDir(dir) // none if there is no such directory
	var names []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(e.Name()))) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}
