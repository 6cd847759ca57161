package apparmor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The profile is the same on hosts with AppArmor's own files, and with RootlessKit.
func TestProfileIsThatOfTheNode(t *testing.T) {
	var b strings.Builder
	if err := Print(&b); err != nil {
		t.Fatal(err)
	}
	onNode := b.String()
	for _, want := range []string{"@{PROC}=/proc/\n", "profile cri-containerd.apparmor.d flags=", "deny mount,", "peer=cri-containerd.apparmor.d,\n}\n"} {
		if !strings.Contains(onNode, want) {
			t.Errorf("the profile has no %q:\n%s", want, onNode)
		}
	}
	host := "\nabi <abi/3.0>,\n\n" + strings.NewReplacer(
		"@{PROC}=/proc/", "#include <tunables/global>",
		"(attach_disconnected,mediate_deleted) {\n", "(attach_disconnected,mediate_deleted) {\n\n  #include <abstractions/base>\n\n",
		"  # Manager may send signals to container processes.\n  signal (receive) peer=unconfined,", "  # Manager may send signals to container processes.\n  signal (receive) peer=docker-default,",
		"peer=cri-containerd.apparmor.d,\n  deny", "peer=cri-containerd.apparmor.d,\n\n  # https://github.com/containerd/nerdctl/issues/2730\n  signal (receive) peer=/usr/bin/rootlesskit,\n\n  deny",
	).Replace(onNode)
	if host == onNode || !strings.Contains(host, "rootlesskit") || !strings.Contains(host, "docker-default") {
		t.Fatal("the profile has another shape than this test knows")
	}
	if got := asOnNode(host); got != onNode {
		t.Errorf("made of that of another host:\n%s\nwant:\n%s", got, onNode)
	}
}

func TestMissing(t *testing.T) {
	tests := []struct {
		name, list string
		want       bool
	}{
		{"loaded", "other (enforce)\ncri-containerd.apparmor.d (enforce)\n", false},
		{"first", "cri-containerd.apparmor.d (complain)\n", false},
		{"not loaded", "docker-default (enforce)\n", true},
		{"a longer name", "x-cri-containerd.apparmor.d (enforce)\ncri-containerd.apparmor.d.old (enforce)\n", true},
		{"none at all", "", true},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "profiles")
		if err := os.WriteFile(path, []byte(tt.list), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Missing(path); got != tt.want {
			t.Errorf("%s: Missing = %v, want %v", tt.name, got, tt.want)
		}
	}
	if Missing(filepath.Join(t.TempDir(), "none")) {
		t.Error("Missing on a kernel without AppArmor, want false")
	}
}
