package apparmor

import (
	"bytes"
	"strings"
	"testing"

	"kios/host/hosttool"
	"kios/test/lab"
)

const profile = `
profile test flags=(attach_disconnected) {
  file,
  network,
  capability,
  deny /sys/firmware/** rwklx,
}
`

func TestCompile(t *testing.T) {
	if _, err := hosttool.Find("apparmor_parser"); err != nil {
		t.Skip(err)
	}
	first, err := Compile(t.Context(), []byte(profile))
	lab.Must(t, err)
	if !bytes.HasPrefix(first, []byte("\x04\x08\x00version\x00")) || !bytes.Contains(first, []byte("test\x00")) {
		t.Errorf("it begins with %q, which is not a profile's binary form", first[:min(len(first), 40)])
	}
	second, err := Compile(t.Context(), []byte(profile))
	lab.Must(t, err)
	if !bytes.Equal(first, second) {
		t.Error("the same text has given other bytes")
	}
	if _, err := Compile(t.Context(), []byte("profile test { nonsense }")); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("error = %v, want the parser's", err)
	}
}

// What a profile must say something of, or it is forbidden.
func TestFeatures(t *testing.T) {
	for _, word := range []string{"userns_create", "io_uring", "dbus", "af_unix"} {
		if bytes.Contains(features, []byte(word)) {
			t.Errorf("features has %s: containerd's profile says nothing of it, so pods could not do it", word)
		}
	}
}
