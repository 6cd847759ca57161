package boot

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/init/supervise"
	"kios/internal/control"
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
// again. Names that cannot be written are none of those that were taken.
func TestNamesAreBounded(t *testing.T) {
	n, _ := node(t)
	dir := t.TempDir()
	for now := time.Duration(0); now < time.Hour; now += 10 * time.Second {
		if err := n.keepOffered(filepath.Join(dir, "none", "hostname"), "node-1", now); !isLater(err) {
			t.Fatalf("a name that cannot be written: %v, want that it may be offered again", err)
		}
	}
	taken := 0
	for now := time.Hour; now < 2*time.Hour; now += 10 * time.Second {
		if err := n.keepOffered(filepath.Join(dir, "hostname"), fmt.Sprintf("node-%s", now), now); err == nil {
			taken++
		} else if !isLater(err) || !strings.Contains(err.Error(), "/etc/hostname") {
			t.Fatalf("the refusal names no remedy, or is for good: %v", err)
		}
	}
	if want := nameBurst + 5; taken != want {
		t.Errorf("%d names in an hour, want %d", taken, want)
	}
}

func isLater(err error) bool {
	_, later := errors.AsType[control.Later](err)
	return later
}
