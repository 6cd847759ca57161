package main

import (
	"strings"
	"testing"

	"kios/upstream/containerd/userconfig"
)

const (
	v1CRI = "[plugins.cri.containerd]\n"
	v2CRI = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n"
)

// containerd's migration does not get to a snapshotter beside which there is no runtime.
func TestSnapshotterInOlderVersions(t *testing.T) {
	const key = "snapshotter = \"zfs\"\n"
	for name, text := range map[string]string{
		"version 1":                   v1CRI + key,
		"version 2":                   "version = 2\n" + v2CRI + key,
		"version 2, with a runtime":   "version = 2\n" + v2CRI + key + "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x]\nruntime_type = \"io.containerd.x.v1\"\n",
		"version 3, with old section": "version = 3\n" + v2CRI + key,
		"version 3":                   "version = 3\n[plugins.\"" + criImages + "\"]\n" + key,
	} {
		c, lines := check(t, etcWith(t, userconfig.Main, text))
		if c == nil {
			t.Fatalf("%s: nothing is used", name)
		}
		checkUsable(t, c)
		want := `/etc/containerd/config.toml: snapshotter = "zfs" is not used: the images of the OS are in overlayfs`
		if len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
			t.Errorf("%s: lines = %q, want one with %s", name, lines, want)
		}
	}
}

// The keys beside it are true here, and are kept.
func TestSnapshotKeysInOlderVersions(t *testing.T) {
	const keys = "discard_unpacked_layers = true\ndisable_snapshot_annotations = false\n"
	for _, text := range []string{v1CRI + keys, "version = 2\n" + v2CRI + keys} {
		c, lines := check(t, etcWith(t, userconfig.Main, text))
		if c == nil {
			t.Fatalf("nothing is used: %q", lines)
		}
		checkUsable(t, c)
		if discard, annotations := at(c, criImages, "discard_unpacked_layers"), at(c, criImages, "disable_snapshot_annotations"); len(lines) > 0 || discard != "true" || annotations != "false" {
			t.Errorf("discard_unpacked_layers = %s, disable_snapshot_annotations = %s, lines %q of\n%s", discard, annotations, lines, text)
		}
	}
}

// What is lost on the way to the current version is named.
func TestKeysLostInMigration(t *testing.T) {
	for _, tt := range []struct{ name, text, line string }{
		{"retired key", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_cdi = false\n",
			"enable_cdi = false is not used: CDI is always on"},
		{"shims' variables beside their old section", "version = 3\n[plugins.\"io.containerd.runtime.v2.task\"]\nplatforms = [\"linux/amd64\"]\n[plugins.\"io.containerd.shim.v1.manager\"]\nenv = [\"A=b\"]\n",
			"[plugins.\"io.containerd.shim.v1.manager\"] env is not used: it is lost when"},
	} {
		t.Run(tt.name, func(t *testing.T) { checkLine(t, tt.text, tt.line) })
	}
}

// checkLine wants one line about a file, which costs nothing else.
func checkLine(t *testing.T, text, line string) {
	t.Helper()
	c, lines := check(t, etcWith(t, userconfig.Main, text))
	if c == nil {
		t.Fatalf("nothing is used: %q", lines)
	}
	checkUsable(t, c)
	if want := "/etc/containerd/config.toml: " + line; len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
		t.Errorf("lines = %q, want one with %q", lines, want)
	}
}
