package userconfig

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"
)

// writePair writes a certificate and its key, and returns their paths.
func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, certFile, string(certPEM))
	write(t, keyFile, string(keyPEM))
	return certFile, keyFile
}

// A certificate and its key are used or left out as one, whichever files name them.
func TestPairOverTwoFiles(t *testing.T) {
	dir := t.TempDir()
	ownCert, ownKey := writePair(t, dir, "own")
	aCert, aKey := writePair(t, dir, "a")
	_, otherKey := writePair(t, dir, "b")
	missing := filepath.Join(dir, "none")
	certIs := func(file string) string { return head + "tlsCertFile: " + file + "\n" }
	keyIs := func(file string) string { return head + "tlsPrivateKeyFile: " + file + "\n" }
	both := certIs(aCert) + "tlsPrivateKeyFile: " + aKey + "\n"
	tests := []struct {
		name, first, second string
		own                 bool     // the node's own pair is served
		says                []string // in the one line, nothing for none
	}{
		{"good", certIs(aCert), keyIs(aKey), false, nil},
		{"another key", certIs(aCert), keyIs(otherKey), true, []string{"tlsCertFile of ", "1.yaml", " and tlsPrivateKeyFile of ", "2.yaml", "does not match"}},
		{"no file", certIs(aCert), keyIs(missing), true, []string{"1.yaml", "2.yaml", "there is no such file"}},
		{"certificate alone", certIs(aCert), head, true, []string{"tlsCertFile of ", "1.yaml", "a certificate needs its key"}},
		{"key alone", head, keyIs(aKey), true, []string{"tlsPrivateKeyFile of ", "2.yaml", "a certificate needs its key"}},
		{"half of a good pair is replaced", both, keyIs(otherKey), true, []string{"1.yaml", "2.yaml", "does not match"}},
		{"a good pair and an empty half", both, keyIs(`""`), true, []string{"tlsCertFile of ", "a certificate needs its key"}},
		{"an empty half", head, keyIs(`""`), true, nil},
		{"a good pair and a bad one", both, certIs(missing) + "tlsPrivateKeyFile: " + missing + "\n", false, []string{"ignoring tlsCertFile and tlsPrivateKeyFile", "there is no such file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newNode(t, map[string]string{"config.d/1.yaml": tt.first, "config.d/2.yaml": tt.second})
			write(t, filepath.Join(d.dropins, "10-node.conf"), certIs(ownCert)+"tlsPrivateKeyFile: "+ownKey+"\n")
			var log strings.Builder
			kc := Check(d.etc, []string{"--config", d.config, "--config-dir=" + d.dropins}, testSystem, &log)
			want := [2]string{aCert, aKey}
			if tt.own {
				want = [2]string{ownCert, ownKey}
			}
			if kc == nil || [2]string{kc.TLSCertFile, kc.TLSPrivateKeyFile} != want {
				t.Errorf("log %q, configuration %+v, want %v", log.String(), kc, want)
			}
			if lines := strings.Count(log.String(), "\n"); lines != min(len(tt.says), 1) {
				t.Errorf("log %q, want %d lines", log.String(), min(len(tt.says), 1))
			}
			for _, says := range tt.says {
				if !strings.Contains(log.String(), says) {
					t.Errorf("log %q, want %q in it", log.String(), says)
				}
			}
		})
	}
}
