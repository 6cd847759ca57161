package boot

import (
	"strings"
	"testing"
	"time"

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

// A server that sends another name with each lease does not start the kubelet again and
// again.
func TestNamesAreBounded(t *testing.T) {
	n, _ := node(t)
	taken := 0
	for now := time.Duration(0); now < time.Hour; now += 10 * time.Second {
		if err := n.boundNames(now); err == nil {
			taken++
		} else if !strings.Contains(err.Error(), "/etc/hostname") {
			t.Fatalf("the refusal names no remedy: %v", err)
		}
	}
	if most := 4 + 6; taken < 4 || taken > most {
		t.Errorf("%d names in an hour, want 4 to %d", taken, most)
	}
}
