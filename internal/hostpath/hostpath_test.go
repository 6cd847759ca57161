package hostpath

import (
	"path"
	"testing"
)

func TestTarget(t *testing.T) {
	dirs := map[string]bool{}
	for _, l := range Links {
		if got, want := path.Join("/", path.Dir(l.Path), l.Target()), "/var/"+l.Dir; got != want {
			t.Errorf("/%s leads to %s, want %s", l.Path, got, want)
		}
		if path.IsAbs(l.Target()) {
			t.Errorf("/%s is an absolute link: a container with the host's root elsewhere cannot follow it", l.Path)
		}
		if dirs[l.Dir] || l.Mode == 0 || l.Who == "" {
			t.Errorf("%+v has a directory twice, or no mode, or no reason", l)
		}
		dirs[l.Dir] = true
	}
}
