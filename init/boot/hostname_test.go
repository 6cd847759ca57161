package boot

import (
	"testing"

	"kios/init/supervise"
)

func TestHasName(t *testing.T) {
	for text, want := range map[string]bool{"": false, "# node\n": false, "# node\nnode-1\n": true, "not_a_name": true} {
		if got := hasName(text); got != want {
			t.Errorf("hasName(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestIsNewName(t *testing.T) {
	n, _ := node(t)
	n.self.update(func(f *facts) { f.hostname = "node-0" })
	n.daemons.add(&supervise.Daemon{Name: kubeletName})
	for _, tt := range []struct {
		name string
		told renaming // the kubelet
		want bool
	}{
		{"node-1", renaming{}, true},
		{"node-0", renaming{}, false},
		{"node-1", renaming{"node-1", 0}, false}, // it is being started again
		{"node-1", renaming{"node-1", 1}, true},  // it was, and the node has another name since
		{"node-2", renaming{"node-1", 0}, true},
		{"localhost", renaming{}, false},
		{"localhost.localdomain", renaming{}, false},
	} {
		n.work.renaming = tt.told
		if got := n.isNewName(tt.name); got != tt.want {
			t.Errorf("isNewName(%q) after %v = %v, want %v", tt.name, tt.told, got, tt.want)
		}
	}
}
