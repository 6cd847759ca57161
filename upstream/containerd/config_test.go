package main

import (
	"os"
	"path/filepath"
	"testing"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/google/go-cmp/cmp"
)

const nodeConfig = "../../rootfs/usr/share/kios/containerd.toml"

func TestChooseConfig(t *testing.T) {
	args := []string{"/bin/containerd", "--config", nodeConfig}
	tests := []struct {
		name, content string
		args          []string
		uses          bool
	}{
		{"good", "version = 3\n[debug]\nlevel = \"warn\"\n", args, true},
		{"good section", "version = 4\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"overlayfs\"\n", args, true},
		{"bad syntax", "version = \n", args, false},
		{"unknown key, which containerd only warns of", "version = 4\nsnapshoter = 1\n", args, true},
		{"bad type", "version = 4\noom_score = \"low\"\n", args, false},
		{"bad type in a section", "version = 4\n[plugins.\"io.containerd.cri.v1.images\"]\nstats_collect_period = \"often\"\n", args, false},
		{"version from the future", "version = 99\n", args, false},
		{"subcommand", "version = 4\n", []string{"/bin/containerd", "config", "dump"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			user := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(user, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			layered := filepath.Join(t.TempDir(), "layered.toml")
			got, uses := chooseConfig(t.Context(), tt.args, user, layered)
			want := tt.args
			if tt.uses {
				want = []string{"/bin/containerd", "--config", layered}
			}
			if diff := cmp.Diff(want, got); diff != "" || uses != tt.uses {
				t.Errorf("chooseConfig uses it: %v, want %v; args (-want +got):\n%s", uses, tt.uses, diff)
			}
		})
	}
}

func TestChooseConfigWithoutFile(t *testing.T) {
	args := []string{"/bin/containerd", "--config", nodeConfig}
	got, uses := chooseConfig(t.Context(), args, filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "layered.toml"))
	if diff := cmp.Diff(args, got); diff != "" || uses {
		t.Errorf("chooseConfig uses it: %v; args (-want +got):\n%s", uses, diff)
	}
}

func TestNodeConfigLoads(t *testing.T) {
	if err := checkConfig(t.Context(), nodeConfig); err != nil {
		t.Error(err)
	}
}

func TestUserConfigLiesOnTopOfTheNodes(t *testing.T) {
	dir := t.TempDir()
	user, layered := filepath.Join(dir, "config.toml"), filepath.Join(dir, "layered.toml")
	content := "version = 4\n[debug]\nlevel = \"warn\"\n[plugins.\"io.containerd.cri.v1.images\"]\nstats_collect_period = 7\n"
	if err := os.WriteFile(user, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := layer(layered, nodeConfig, user); err != nil {
		t.Fatal(err)
	}
	config := &srvconfig.Config{Version: version.ConfigVersion}
	if err := srvconfig.LoadConfig(t.Context(), layered, config); err != nil {
		t.Fatal(err)
	}
	images := config.Plugins["io.containerd.cri.v1.images"].(map[string]any)
	pinned, _ := images["pinned_images"].(map[string]any)
	if config.Debug.Level != "warn" || images["stats_collect_period"] != int64(7) || pinned["sandbox"] != "kios.local/pause:1" {
		t.Errorf("level %q, images %v, want the user's level and period, and the node's pinned image", config.Debug.Level, images)
	}
}
