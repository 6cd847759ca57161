package consoleline

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines are the forms as they are on consoles. People and tests look for them.
var lines = []struct {
	text string
	line Line
}{
	{"step data-partition 12 ms", Line{Kind: Step, Name: "data-partition", Took: 12 * time.Millisecond}},
	{"stop containerd 40 ms", Line{Kind: Stop, Name: "containerd", Took: 40 * time.Millisecond}},
	{"kubelet ready", Line{Kind: Ready, Name: "kubelet"}},
	{"pod default/hello container main started", Line{Kind: Started, Namespace: "default", Pod: "hello", Container: "main"}},
	{"pod default/hello container main exited with code 137", Line{Kind: Exited, Namespace: "default", Pod: "hello", Container: "main", Exit: 137}},
	{"image pause.tar imported 120 ms", Line{Kind: Imported, Name: "pause.tar", Took: 120 * time.Millisecond}},
	{"image /run/images/pause.tar imported 120 ms", Line{Kind: Imported, Name: "/run/images/pause.tar", Took: 120 * time.Millisecond}},
	{`image "my image.tar" imported 0 ms`, Line{Kind: Imported, Name: "my image.tar"}},
	{`pod "a/b"/"" container "\"\xff" started`, Line{Kind: Started, Namespace: "a/b", Container: "\"\xff"}},
	{"error: step a failed: broken", Line{Kind: Error, Text: "step a failed: broken"}},
	{"warning: the clock says 1970-01-01", Line{Kind: Warning, Text: "the clock says 1970-01-01"}},
	{"error: warning: both", Line{Kind: Error, Text: "warning: both"}},
	{"data partition /dev/vda2", Line{Text: "data partition /dev/vda2"}},
	{"   9.100 s           container default/x main exited with code 1: failed", Line{Text: "   9.100 s           container default/x main exited with code 1: failed"}},
	{"", Line{}},
	// Texts that look like other forms.
	{"note: kubelet ready", Line{Text: "kubelet ready"}},
	{"note: step a 1 ms", Line{Text: "step a 1 ms"}},
	{"note: error: none", Line{Text: "error: none"}},
	{"note: note: x", Line{Text: "note: x"}},
}

func TestFormat(t *testing.T) {
	for _, tt := range lines {
		if got := Format(tt.line); got != tt.text {
			t.Errorf("Format(%+v) = %q, want %q", tt.line, got, tt.text)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range lines {
		if diff := cmp.Diff(tt.line, Parse(tt.text)); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.text, diff)
		}
	}
}

// TestNotes holds that what only resembles a form is none.
func TestNotes(t *testing.T) {
	for _, text := range []string{
		"step two words 1 ms", "step a 1.5 ms", "step a -1 ms", "step a 1 s", "step a", "step  1 ms", "step a 1 ms later", "step a 1234567890123 ms",
		"stopped in 12 ms, powering off", "the kubelet is ready", " ready", "ready", "kubelet ready ", "Error: x", "error:x",
		"pod a container b started", "pod a/b container c", "pod a/b container c exited with code x", `image "a imported 1 ms`, "image `a` b imported 1 ms",
	} {
		if diff := cmp.Diff(Line{Text: text}, Parse(text)); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", text, diff)
		}
	}
}

// FuzzRoundTrip puts a line together from anything and demands it back.
func FuzzRoundTrip(f *testing.F) {
	for _, tt := range lines {
		f.Add(tt.line.Text, tt.line.Name, tt.line.Took.Milliseconds(), tt.line.Namespace, tt.line.Pod, tt.line.Container, tt.line.Exit)
	}
	f.Fuzz(func(t *testing.T, text, name string, ms int64, namespace, pod, container string, exit int) {
		took := time.Duration(max(ms, -ms, 0)%1e12) * time.Millisecond
		for _, l := range []Line{
			{Kind: Note, Text: text}, {Kind: Warning, Text: text}, {Kind: Error, Text: text},
			{Kind: Step, Name: name, Took: took}, {Kind: Stop, Name: name, Took: took}, {Kind: Imported, Name: name, Took: took},
			{Kind: Ready, Name: name},
			{Kind: Started, Namespace: namespace, Pod: pod, Container: container},
			{Kind: Exited, Namespace: namespace, Pod: pod, Container: container, Exit: exit},
		} {
			if got := Parse(Format(l)); got != l {
				t.Errorf("Parse(%q) = %+v, want %+v", Format(l), got, l)
			}
		}
	})
}

// FuzzParse holds that any text is read as something that can be written again, and
// that problems are those with a mark.
func FuzzParse(f *testing.F) {
	for _, tt := range lines {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := Parse(text)
		if again := Parse(Format(l)); again != l {
			t.Errorf("Parse(%q) = %+v, written and read again %+v", text, l, again)
		}
		if marked := strings.HasPrefix(text, errorMark); marked != (l.Kind == Error) {
			t.Errorf("Parse(%q) = %+v", text, l)
		}
	})
}
