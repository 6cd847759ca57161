package userconfig

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The test binary is also the process that checks.
func TestMain(m *testing.M) {
	if code, mine := CheckOnHost(os.Args, os.Stdout, os.Stderr); mine {
		os.Exit(code)
	}
	if code, mine := CheckProviders(os.Args); mine {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

const provider = `
providers:
- name: plugin
  matchImages: ["registry.example"]
  defaultCacheDuration: 1h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
`

func TestProviders(t *testing.T) {
	const kind = "kind: CredentialProviderConfig\n"
	tests := []struct {
		name, text string // "" for no file
		want       string // in the log, "" for a good file
	}{
		{"missing", "", ""},
		{"v1", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + provider, ""},
		{"v1beta1", "apiVersion: kubelet.config.k8s.io/v1beta1\n" + kind + provider, ""},
		{"v1alpha1", "apiVersion: kubelet.config.k8s.io/v1alpha1\n" + kind + provider, ""},
		{"garbage", "\x00\x01", "control characters"},
		{"empty", " ", "Kind"},
		{"unknown field", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + provider + "x: y\n", `unknown field "x"`},
		{"none", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + "providers: []\n", "at least 1 item"},
		{"no such program", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + strings.ReplaceAll(provider, "plugin", "other"), "did not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "providers.yaml"), t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "plugin"), []byte("#!"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.text != "" {
				write(t, file, tt.text)
			}
			before := []string{"--v", "2", "--image-credential-provider-config=" + file, "--image-credential-provider-bin-dir", dir, "--last"}
			want := before
			if tt.text == "" || tt.want != "" {
				want = []string{"--v", "2", "--last"}
			}
			var log bytes.Buffer
			if diff := cmp.Diff(want, Providers(before, &log)); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if got := log.String(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Count(got, "\n") > 1 {
				t.Errorf("log = %q, want %q on one line", got, tt.want)
			}
			if tt.want != "" && !strings.HasPrefix(log.String(), "kios: ignoring "+file+": ") {
				t.Errorf("log = %q does not name the file", log.String())
			}
		})
	}
}

// The program of a provider comes by a pod, after the kubelet has started.
func TestAwaitProviders(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "providers.yaml"), filepath.Join(t.TempDir(), "exec")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	list := []string{"--image-credential-provider-config=" + file, "--image-credential-provider-bin-dir", dir}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	good := make(chan bool)
	go func() { good <- AwaitProviders(ctx, list, t.Logf) }()
	write(t, file, "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n"+provider)
	write(t, filepath.Join(dir, "plugin"), "#!")
	if err := os.Chmod(filepath.Join(dir, "plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !<-good {
		t.Error("the providers are good, and nobody noticed")
	}
}
