package trial

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestRejections(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rejected.json")
	r := NewRejections(path)
	if was, err := r.Clear("kubelet"); was || err != nil {
		t.Errorf("Clear of nothing = %v, %v", was, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of nothing: %v", err)
	}
	lab.Must(t, r.Set("kubelet", &Rejection{Files: []string{"/etc/kubernetes/config.yaml"}, Error: "bad", Using: GoodFiles, Since: time.Unix(1e9, 0).UTC()}))
	want := `{
  "kubelet": {
    "files": [
      "/etc/kubernetes/config.yaml"
    ],
    "error": "bad",
    "using": "last good files",
    "since": "2001-09-09T01:46:40Z"
  }
}
`
	if diff := cmp.Diff(want, lab.ReadFile(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	lab.Must(t, r.Set("containerd", &Rejection{Using: NoFiles}))
	if was, err := r.Clear("kubelet"); !was || err != nil || strings.Contains(lab.ReadFile(t, path), "kubelet") {
		t.Errorf("Clear = %v, %v; the file is %s", was, err, lab.ReadFile(t, path))
	}
	r.Clear("containerd")
	if got := lab.ReadFile(t, path); got != "{}\n" {
		t.Errorf("the file of nothing more is %q", got)
	}
}

func TestSentence(t *testing.T) {
	r := Rejection{Files: []string{"/etc/kubernetes/config.yaml"}, Error: "no such gate", Using: GoodFiles}
	want := "the kubelet does not work with the changes of /etc/kubernetes/config.yaml (no such gate): " +
		"it starts with the files as they were before; correct that, then restart the node"
	if got := r.Sentence("the kubelet"); got != want {
		t.Errorf("Sentence = %q\nwant       %q", got, want)
	}
	long := Rejection{Error: strings.Repeat("é", 2000), Using: NoFiles}
	for i := range 20 {
		long.Files = append(long.Files, fmt.Sprintf("%d%s", i, strings.Repeat("x", 300)))
	}
	got := long.Sentence("the kubelet")
	if len(got) > 900 || !strings.Contains(got, "and 16 more") || !strings.HasSuffix(got, "it starts without; correct that, then restart the node") {
		t.Errorf("Sentence of much has %d bytes: %q", len(got), got)
	}
}

func TestLastError(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"W1130 05:14:01.1 1 a.go:1] odd"}, ""},
		{[]string{`E1130 05:14:01.123456     123 run.go:72] "command failed" err="failed to run Kubelet: x"`, "W1130 05:14:01.1 1 a.go:1] odd"},
			`"command failed" err="failed to run Kubelet: x"`},
		{[]string{"E1130 05:14:01.1 1 a.go:1] first", "F1130 05:14:01.1 1 a.go:1] last"}, "last"},
		{[]string{`time="2026-11-30T05:14:01Z" level=error msg="RunPodSandbox failed" error="x"`}, `"RunPodSandbox failed" error="x"`},
		{[]string{"panic: ouch", "", "goroutine 1 [running]:", "main.main()"}, "panic: ouch"},
		{[]string{"containerd: failed to load TOML"}, "containerd: failed to load TOML"},
		{[]string{`{"ts":1,"caller":"app/server.go:1","msg":"command failed","err":"x"}`}, `{"ts":1,"caller":"app/server.go:1","msg":"command failed","err":"x"}`},
		{[]string{"Error: " + strings.Repeat("x", 1000)}, "Error: " + strings.Repeat("x", maxCause-len("Error: ...")) + "..."},
	} {
		if got := LastError(tt.lines); got != tt.want {
			t.Errorf("LastError(%q) = %q, want %q", tt.lines, got, tt.want)
		}
	}
}
