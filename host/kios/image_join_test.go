package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/pki"
	"kios/test/lab"
)

// parseJoin parses flags, in which CA and CONFIG stand for files in dir.
func parseJoin(t *testing.T, dir, line string) joinFlags {
	t.Helper()
	cmd := newImageCommand()
	var f joinFlags
	cmd.ResetFlags()
	f.add(cmd.Flags())
	line = strings.NewReplacer("CA", filepath.Join(dir, "ca.crt"), "CONFIG", filepath.Join(dir, "config")).Replace(line)
	lab.Must(t, cmd.ParseFlags(strings.Fields(line)))
	return f
}

func joinDir(t *testing.T) string {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	lab.Must(t, err)
	dir := t.TempDir()
	config := "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: https://x}}]\nusers: [{name: a, user: {token: t}}]\n"
	for name, text := range map[string]string{"ca.crt": string(ca.Cert()), "config": config} {
		lab.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestJoinFlags(t *testing.T) {
	const token = " --token abcdef.0123456789abcdef"
	tests := []struct {
		line string
		want string // paths, or a part of the error
	}{
		{"", ""},
		{"--join 10.0.0.1:6443 --ca CA" + token, "kubernetes/bootstrap-kubelet.conf kubernetes/pki/ca.crt kubernetes/config.d/10-join.yaml"},
		{"--join CONFIG --node-name n", "kubernetes/kubelet.conf kubernetes/config.d/10-join.yaml hostname"},
		{"--join CONFIG" + token, "error: --join CONFIG: it is a kubeconfig"},
		{"--join no/such" + token, "error: --join no/such: no such file"},
		{"--join 10.0.0.1:6443 --ca CA", "error: --join 10.0.0.1:6443: --token: the bootstrap token is missing"},
		{"--join 10.0.0.1:6443" + token, "error: --join 10.0.0.1:6443: the node cannot verify the API server"},
		{"--join 10.0.0.1:6443 --ca CA --discovery-token-ca-cert-hash sha256:a" + token, "not both"},
		{"--join 10.0.0.1:6443 --discovery-token-ca-cert-hash sha256:a" + token, "64 hexadecimal digits"},
		{"--join 10.0.0.1:6443 --ca /no/such" + token, "error: --join 10.0.0.1:6443: --ca: open /no/such"},
		{"--node-name n", "need --join"},
	}
	dir := joinDir(t)
	for _, tt := range tests {
		files, err := parseJoin(t, dir, tt.line).files(t.Context())
		var paths []string
		for _, f := range files {
			paths = append(paths, f.Path)
		}
		got := strings.Join(paths, " ")
		if err != nil {
			got = "error: " + strings.ReplaceAll(err.Error(), filepath.Join(dir, "config"), "CONFIG")
		}
		if got != tt.want && (err == nil || tt.want == "" || !strings.Contains(got, tt.want)) {
			t.Errorf("%q: %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestJoinAndEtcDoNotMix(t *testing.T) {
	dir := joinDir(t)
	files, err := parseJoin(t, dir, "--join CONFIG").files(t.Context())
	lab.Must(t, err)
	etc := t.TempDir()
	made, err := extra(files, etc)
	if err != nil || made["meta/etc/kubernetes/kubelet.conf"].Mode != 0o600 {
		t.Errorf("extra = %v, %v", slices.Sorted(maps.Keys(made)), err)
	}
	lab.Must(t, os.MkdirAll(filepath.Join(etc, "kubernetes"), 0o755))
	lab.Must(t, os.WriteFile(filepath.Join(etc, "kubernetes/kubelet.conf"), nil, 0o600))
	if _, err := extra(files, etc); err == nil || !strings.Contains(err.Error(), "remove one of them") {
		t.Errorf("error = %v, want one about two kubelet.conf", err)
	}
}
