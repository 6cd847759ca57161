package manifest

import (
	"strings"
	"testing"

	"kios/test/lab"
)

const pod = `apiVersion: v1 # of every pod
kind: Pod
metadata:
  name: a
spec:
  containers:
  - name: a
`

func TestWithUID(t *testing.T) {
	got, err := WithUID([]byte(pod))
	lab.Must(t, err)
	// The beginning of the SHA-256 of the text above, as sha256sum prints it.
	const uid = "54f12d84f3b7a79b22c6c87819ab76b1"
	if want := strings.Replace(pod, "metadata:\n", "metadata:\n  uid: \""+uid+"\"\n", 1); string(got) != want {
		t.Errorf("WithUID = %s, want %s", got, want)
	}
	again, err := WithUID([]byte(strings.Replace(pod, "name: a", "name: b", 1)))
	lab.Must(t, err)
	if strings.Contains(string(again), uid) {
		t.Error("another manifest has the same UID")
	}
}

func TestWithUIDRefuses(t *testing.T) {
	for _, text := range []string{"", "kind: Pod\nmetadata: {name: a}\n", "kind: Pod\n  metadata:\n    name: a\n", "kind: Pod\r\nmetadata:\r\n  name: a\r\n"} {
		if got, err := WithUID([]byte(text)); err == nil || !strings.Contains(err.Error(), "metadata:") {
			t.Errorf("WithUID(%q) = %q, %v, want an error that names what is missing", text, got, err)
		}
	}
}
