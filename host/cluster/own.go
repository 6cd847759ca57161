package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// made are the names in a cluster's directory, in the order in which Purge removes them:
// what a cluster is known by is there to the end.
var made = []string{"nodes", "network", "keys", "kubeconfig", "addons.yaml", "lock", stateFile, bootDir}

// A new cluster has its boot/ first, and one that was started has its cluster.json.
const (
	stateFile = "cluster.json"
	bootDir   = "boot"
)

// CheckOwn looks for what kios has not made in the cluster's directory: whoever removes a
// cluster does not mean that. A directory that is not there, or is empty, is nobody else's.
func (c *Cluster) CheckOwn() error {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	known := len(entries) == 0
	for _, e := range entries {
		if !isMade(e.Name()) {
			return fmt.Errorf("cluster %s: kios has not made %s: move it elsewhere; if %s is no cluster's, choose another --name", c.Name, c.path(e.Name()), c.Dir)
		}
		known = known || e.Name() == stateFile || e.Name() == bootDir
	}
	if !known {
		return fmt.Errorf("cluster %s: kios has not made the directory %s, which has neither %s nor %s: choose another --name, or move the directory elsewhere", c.Name, c.Dir, stateFile, bootDir)
	}
	return nil
}

// isMade reports whether kios gives this name to a file or directory, also while it
// writes the file (package wholefile).
func isMade(name string) bool {
	return slices.ContainsFunc(made, func(own string) bool {
		return name == own || strings.HasPrefix(name, "."+own+".kios-")
	})
}

// removeOwn removes what kios has made, and the directory if nothing else is in it.
func (c *Cluster) removeOwn() error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isMade(e.Name()) && !slices.Contains(made, e.Name()) {
			if err := os.Remove(c.path(e.Name())); err != nil {
				return err
			}
		}
	}
	for _, name := range made {
		if err := os.RemoveAll(c.path(name)); err != nil {
			return err
		}
	}
	return os.Remove(c.Dir)
}
