package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

// newDir makes the directory of a cluster with these files and, ending in a slash,
// directories.
func newDir(t *testing.T, files ...string) *Cluster {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := withWorkers(t, State{}, 1)
	lab.Must(t, os.MkdirAll(c.Dir, 0o700))
	for _, name := range files {
		if dir, ok := strings.CutSuffix(name, "/"); ok {
			lab.Must(t, os.MkdirAll(c.path(dir), 0o700))
			continue
		}
		lab.WriteFile(t, c.path(name), "precious")
	}
	return c
}

// What kios has not made is neither removed nor mixed with a new cluster.
func TestOnlyOwnIsRemoved(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  string // "" if it is removed
	}{
		{"empty", nil, ""},
		{"just begun", []string{"boot/"}, ""},
		{"whole", []string{"boot/", "network/", "nodes/worker-1/", "keys/", "kubeconfig", "addons.yaml", "lock", "cluster.json"}, ""},
		{"interrupted while a file was written", []string{"boot/", ".kubeconfig.kios-0123abcd", ".cluster.json.kios-0123abcd"}, ""},
		{"almost removed", []string{"cluster.json", "boot/"}, ""},
		{"a file of somebody else", []string{"my.txt"}, "my.txt: move it elsewhere"},
		{"a file beside a cluster", []string{"boot/", "nodes/", "cluster.json", "my.txt"}, "my.txt: move it elsewhere"},
		{"a hidden file", []string{"boot/", ".git/"}, ".git: move it elsewhere"},
		{"names that others use, too", []string{"keys/mine", "nodes/"}, "has neither cluster.json nor boot"},
	} {
		c := newDir(t, tt.files...)
		err := c.Purge()
		_, gone := os.Stat(c.Dir)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.Is(gone, os.ErrNotExist) != (tt.want == "") {
			t.Errorf("%s: Purge = %v, and the directory is %v; want %q", tt.name, err, gone, tt.want)
		}
		if tt.want == "" {
			continue
		}
		if err := c.Up(context.Background(), Products{}, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Up = %v, want %q", tt.name, err, tt.want)
		}
		for _, name := range tt.files {
			if _, err := os.Stat(c.path(name)); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if _, err := os.Stat(c.path("lock")); err == nil {
			t.Errorf("%s: a lock was left there", tt.name)
		}
	}
}

func TestCheckOwnOfAFile(t *testing.T) {
	c := newDir(t)
	lab.Must(t, os.Remove(c.Dir))
	lab.Must(t, c.CheckOwn())
	lab.WriteFile(t, c.Dir, "precious")
	if err := c.CheckOwn(); err == nil {
		t.Error("a file is taken for a cluster's directory")
	}
}

// A state that was not written by kios has no nodes, and is not worked with.
func TestOpenOfNoState(t *testing.T) {
	for _, text := range []string{"{}", "null", `{"nodes": [{"name": "worker-1", "address": "10.77.0.11"}]}`} {
		c := newDir(t)
		lab.WriteFile(t, filepath.Join(c.Dir, "cluster.json"), text)
		if _, err := Open("a"); err == nil || !strings.Contains(err.Error(), "has no node for the control plane (kios cluster down --purge") {
			t.Errorf("Open with the state %s = %v", text, err)
		}
	}
}
