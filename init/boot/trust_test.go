package boot

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kios/init/nodecert"
	"kios/init/trial"
	"kios/test/lab"
)

const pemBlock = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

// What Go would wait for, or what has no end, is not what the daemons see.
func TestTrust(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(dir string) error
		env  []string // GOOD is the directory of copies
		log  string
	}{
		{"the bundle", func(string) error { return nil }, nil, ""},
		{"a good one", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.pem"), []byte(pemBlock), 0o644) }, nil, ""},
		{"a link by hash", func(dir string) error { return os.Symlink(caBundle, filepath.Join(dir, "1234abcd.0")) }, nil, ""},
		{"no certificate", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.pem"), []byte("x"), 0o644) }, nil, "a.pem: there is no certificate in it"},
		{"a pipe", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "a.pem"), 0o644) },
			[]string{"SSL_CERT_DIR=GOOD"}, "a.pem is not used: it is not a regular file"},
		{"a large one", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.crt"), make([]byte, 2<<20), 0o644) },
			[]string{"SSL_CERT_DIR=GOOD"}, "a.crt is not used: it is too large"},
		{"no bundle", func(dir string) error {
			return firstError(os.WriteFile(filepath.Join(dir, "a.pem"), []byte(pemBlock), 0o644), os.Remove(filepath.Join(dir, caBundle)), os.Mkdir(filepath.Join(dir, caBundle), 0o755))
		}, []string{"SSL_CERT_DIR=GOOD", "SSL_CERT_FILE=GOOD/mine.pem"}, caBundle + " is not used"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, log := node(t)
			dir, good := t.TempDir(), filepath.Join(t.TempDir(), "good")
			lab.Must(t, os.WriteFile(filepath.Join(dir, caBundle), []byte(pemBlock), 0o644))
			lab.Must(t, tt.make(dir))
			env := n.trustOf(dir, good)
			for i := range env {
				env[i] = strings.ReplaceAll(env[i], good, "GOOD")
			}
			if !slices.Equal(env, tt.env) || !strings.Contains(log.String(), tt.log) || (log.String() == "") != (tt.log == "") {
				t.Errorf("environment %q, log %q; want %q, %q", env, log, tt.env, tt.log)
			}
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestGoReadsTheDirectory is why the node does nothing where all files are good: an
// authority in any file of the directory counts.
func TestGoReadsTheDirectory(t *testing.T) {
	pair := nodecert.Pair{Cert: filepath.Join(t.TempDir(), "cert"), Key: filepath.Join(t.TempDir(), "key")}
	lab.Must(t, pair.Make([]string{"node"}, nil))
	text, err := os.ReadFile(pair.Cert)
	lab.Must(t, err)
	dir := t.TempDir()
	lab.Must(t, os.WriteFile(filepath.Join(dir, "mine.pem"), text, 0o644))
	t.Setenv("SSL_CERT_DIR", dir)
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "none"))
	pool, err := x509.SystemCertPool()
	lab.Must(t, err)
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(text)
	if !pool.Equal(want) {
		t.Error("the authority in mine.pem is not trusted")
	}
}

// A daemon's environment is part of its trial, and what is wrong with it is said.
func TestUserEnvironment(t *testing.T) {
	n, log := node(t)
	etc := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(etc, "kios"), 0o755))
	lab.Must(t, os.WriteFile(filepath.Join(etc, "kios/environment.yaml"), []byte("environment:\n  PATH: /x\n  A: a\nkubelet:\n  B: b\n"), 0o644))
	for daemon, want := range map[string][]string{kubeletName: {"A=a", "B=b"}, containerdName: {"A=a"}} {
		if got := n.userEnvironment(etc, daemon); !slices.Equal(got, want) {
			t.Errorf("environment of %s: %q, want %q", daemon, got, want)
		}
		if set := sources[daemon].Read(etc); set.Equal(trial.Set{}) {
			t.Errorf("the file is not in the trial of %s", daemon)
		}
	}
	if !strings.Contains(log.String(), "line 2 is left out: PATH cannot be set") {
		t.Errorf("log %q", log)
	}
}
