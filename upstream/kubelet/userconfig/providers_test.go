package userconfig

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

const providerConfig = `
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
		{"v1", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + providerConfig, ""},
		{"v1beta1", "apiVersion: kubelet.config.k8s.io/v1beta1\n" + kind + providerConfig, ""},
		{"v1alpha1", "apiVersion: kubelet.config.k8s.io/v1alpha1\n" + kind + providerConfig, ""},
		{"garbage", "\x00\x01", "control characters"},
		{"empty", " ", "Kind"},
		{"unknown field", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + providerConfig + "x: y\n", `unknown field "x"`},
		{"none", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + "providers: []\n", "at least 1 item"},
		{"no file name", "apiVersion: kubelet.config.k8s.io/v1\n" + kind + strings.ReplaceAll(providerConfig, "plugin", "a/b"), "cannot contain '/'"},
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
			left, used := Providers(before, &log)
			if diff := cmp.Diff(want, left); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			good := ""
			if tt.want == "" {
				good = tt.text
			}
			if used != good {
				t.Errorf("used %q, want %q", used, good)
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

// Every provider is init, whether its program, or its pod, is there yet or not.
func TestProvidersAreInit(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "providers.yaml"), filepath.Join(t.TempDir(), "links")
	write(t, file, "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n"+providerConfig+strings.Replace(strings.TrimPrefix(providerConfig, "\nproviders:\n"), "plugin", "../other", 1))
	for range 2 { // as at the next start
		Providers([]string{"--image-credential-provider-config=" + file, "--image-credential-provider-bin-dir=" + dir}, io.Discard)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != "plugin" {
			t.Fatalf("links %v, %v, want plugin", entries, err)
		}
		if target, err := os.Readlink(filepath.Join(dir, "plugin")); target != "/bin/init" {
			t.Errorf("plugin is a link to %q, %v", target, err)
		}
	}
}

// The kubelet starts again for a file with another good content, and for no other.
func TestAwaitProviders(t *testing.T) {
	const good = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n" + providerConfig
	for _, tt := range []struct {
		name, used, bad, better string
	}{
		{"none before", "", "", good},
		{"others before", good, "", good + "# more\n"},
		{"a bad one in between", good, "kind: x\n", good + "# more\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "providers.yaml"), t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "plugin"), []byte("#!"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.used != "" {
				write(t, file, tt.used)
			}
			list := []string{"--image-credential-provider-config=" + file, "--image-credential-provider-bin-dir", dir}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			said, seen := make(chan string, 9), make(chan bool)
			go func() {
				seen <- AwaitProviders(ctx, list, tt.used, func(format string, args ...any) { said <- fmt.Sprintf(format, args...) })
			}()
			if tt.bad != "" {
				write(t, file, tt.bad)
				if text := <-said; !strings.HasPrefix(text, file+" is not used: ") {
					t.Errorf("said %q", text)
				}
			}
			write(t, file, tt.better)
			if !<-seen || len(said) > 0 {
				t.Errorf("the providers are good, and nobody noticed; %d lines too many", len(said))
			}
		})
	}
}

// What the kubelet has been started with is no news.
func TestAwaitSameProviders(t *testing.T) {
	const good = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n" + providerConfig
	file := filepath.Join(t.TempDir(), "providers.yaml")
	write(t, file, good)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	time.AfterFunc(time.Second, func() { write(t, file, good) })
	if AwaitProviders(ctx, []string{"--image-credential-provider-config=" + file, "--image-credential-provider-bin-dir", t.TempDir()}, good, t.Logf) {
		t.Error("the kubelet would start again for nothing")
	}
}
