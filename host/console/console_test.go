package console

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var parseTests = []struct {
	line string
	want Event
}{
	{
		"[    0.000000] Linux version 6.12.117 (kios@kios) (gcc-12 (Debian 12.2.0) 12.2.0) #1 SMP",
		Event{Kind: Version, Name: "6.12.117", Text: "Linux version 6.12.117 (kios@kios) (gcc-12 (Debian 12.2.0) 12.2.0) #1 SMP"},
	},
	{
		"[    1.234567][    T1] EXT4-fs (vda2): mounted filesystem with ordered data mode",
		Event{Kind: Kernel, Uptime: 1234567 * time.Microsecond, Text: "EXT4-fs (vda2): mounted filesystem with ordered data mode"},
	},
	{
		"[    2.500000] kios: step mount 12 ms",
		Event{Kind: Step, Uptime: 2500 * time.Millisecond, Text: "step mount 12 ms", Name: "mount", Took: 12 * time.Millisecond},
	},
	{
		`[    2.500000] kios: image "my image.tar" imported 4 ms`,
		Event{Kind: Imported, Uptime: 2500 * time.Millisecond, Text: `image "my image.tar" imported 4 ms`, Name: "my image.tar", Took: 4 * time.Millisecond},
	},
	{
		"[    2.500000] kios: error: step data partition: cannot mount /dev/vda2: structure needs cleaning",
		Event{Kind: Problem, Uptime: 2500 * time.Millisecond, Text: "step data partition: cannot mount /dev/vda2: structure needs cleaning"},
	},
	{
		"[    4.000000] kios: containerd ready",
		Event{Kind: Ready, Uptime: 4 * time.Second, Text: "containerd ready", Name: "containerd"},
	},
	{
		"[   10.000001] kios: pod default/hello-kios-3f2a container hello started",
		Event{
			Kind: Started, Uptime: 10*time.Second + time.Microsecond, Text: "pod default/hello-kios-3f2a container hello started",
			Namespace: "default", Pod: "hello-kios-3f2a", Container: "hello",
		},
	},
	{
		"[   20.000000] kios: pod default/hello container hello exited with code 137",
		Event{
			Kind: Exited, Uptime: 20 * time.Second, Text: "pod default/hello container hello exited with code 137",
			Namespace: "default", Pod: "hello", Container: "hello", Exit: 137,
		},
	},
	{
		"[    5.000000] kios: image /usr/share/kios/images/pause.tar imported 120 ms",
		Event{
			Kind: Imported, Uptime: 5 * time.Second, Text: "image /usr/share/kios/images/pause.tar imported 120 ms",
			Name: "/usr/share/kios/images/pause.tar", Took: 120 * time.Millisecond,
		},
	},
	{
		"[    5.000000] kios: error: image broken.tar: unexpected EOF: skipped",
		Event{Kind: Problem, Uptime: 5 * time.Second, Text: "image broken.tar: unexpected EOF: skipped"},
	},
	{
		"[    6.000000] kios: error: kubelet (pid 77) ended after 1.2s: exit code 1; restart 1 in 1s",
		Event{Kind: Problem, Uptime: 6 * time.Second, Text: "kubelet (pid 77) ended after 1.2s: exit code 1; restart 1 in 1s"},
	},
	{
		"[    6.000000] kios: error: kubelet| E0102 03:04:05.000000 77 run.go:72] bad",
		Event{Kind: Problem, Uptime: 6 * time.Second, Text: "kubelet| E0102 03:04:05.000000 77 run.go:72] bad"},
	},
	{
		"[    7.000000] kios: warning: the clock says 1970-01-01",
		Event{Kind: Warning, Uptime: 7 * time.Second, Text: "the clock says 1970-01-01"},
	},
	{
		"[    7.000000] kios: no word of this makes it a problem: failed, cannot, killed",
		Event{Kind: Notice, Uptime: 7 * time.Second, Text: "no word of this makes it a problem: failed, cannot, killed"},
	},
	{
		"[    7.000000] kios: note: kubelet ready",
		Event{Kind: Notice, Uptime: 7 * time.Second, Text: "kubelet ready"},
	},
	{
		"[   15.000000] kios:    9.100 s           container default/x main exited with code 1: failed",
		Event{Kind: Notice, Uptime: 15 * time.Second, Text: "   9.100 s           container default/x main exited with code 1: failed"},
	},
	{
		"[   33.000000] kios: stop containerd 40 ms",
		Event{Kind: Step, Uptime: 33 * time.Second, Text: "stop containerd 40 ms", Name: "stop containerd", Took: 40 * time.Millisecond},
	},
	{
		"[   30.000000] kios: power button: stopping",
		Event{Kind: Notice, Uptime: 30 * time.Second, Text: "power button: stopping"},
	},
	{
		"[   31.000000] reboot: Power down",
		Event{Kind: PowerDown, Uptime: 31 * time.Second, Text: "reboot: Power down"},
	},
	{
		"[   31.000000] reboot: Restarting system",
		Event{Kind: Restart, Uptime: 31 * time.Second, Text: "reboot: Restarting system"},
	},
	{
		"[    3.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
		Event{Kind: Panic, Uptime: 3 * time.Second, Text: "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"},
	},
	{"BdsDxe: starting Boot0001", Event{Kind: Other, Text: "BdsDxe: starting Boot0001"}},
	{"kios: not from the kernel's log", Event{Kind: Other, Text: "kios: not from the kernel's log"}},
	{"", Event{Kind: Other}},
}

func TestParse(t *testing.T) {
	for _, tt := range parseTests {
		if diff := cmp.Diff(tt.want, Parse(tt.line)); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.line, diff)
		}
	}
}

// Who sees no colours sees how grave a line is, too, and that a pod says it.
func TestDescribe(t *testing.T) {
	for line, want := range map[string]string{
		"kios: error: pod metadata: user data: x":     "pod: error: metadata: user data: x",
		"kios: warning: pod metadata: not done: x":    "pod: warning: metadata: not done: x",
		"kios: warning: the clock says 1970-01-01":    "init: warning: the clock says 1970-01-01",
		"kios: error: kubelet| E0102 bad":             "init: error: kubelet| E0102 bad",
		"kios: stopping, as the power button asks":    "init: stopping, as the power button asks",
		"kios: pod kube-system/a container b started": "pod: kube-system/a: container b runs",
	} {
		who, text, _ := Describe(Parse("[    1.000000] " + line))
		if got := who + ": " + text; got != want {
			t.Errorf("%s is shown as %q, want %q", line, got, want)
		}
	}
}

func TestPrinter(t *testing.T) {
	var b strings.Builder
	p := NewPrinter(&b)
	for i, line := range []string{
		"BdsDxe: starting Boot0001",
		"[    0.000000] Linux version 6.12.117 (kios@kios)",
		"[    0.500000] kios: step mount 12 ms",
		"[    0.600000] kios: kubelet ready",
		"[    0.700000] kios: image /run/kios/images/hello.tar imported 120 ms",
		"[    0.800000] kios: pod default/hello container hello started",
		"[    0.900000] kios: hostname is kios-3f2a",
	} {
		p.Event(time.Duration(i)*1500*time.Millisecond, Parse(line))
	}
	p.Note(12*time.Second, "power button pressed")
	const want = `    0.00s              BdsDxe: starting Boot0001
    1.50s  kernel      Linux 6.12.117
    3.00s  init        mount  (12 ms)
    4.50s  kubelet     ready
    6.00s  image       hello.tar imported  (120 ms)
    7.50s  pod         default/hello: container hello runs
    9.00s  init        hostname is kios-3f2a
   12.00s  host        power button pressed
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	p.colour = true
	for line, want := range map[string]string{
		"[    3.0] Kernel panic - not syncing: x": red + "kernel",
		"[    3.0] kios: error: x":                red + "init",
		"[    3.0] kios: warning: x":              yellow + "init",
	} {
		b.Reset()
		p.Event(0, Parse(line))
		if got := b.String(); !strings.Contains(got, want) || !strings.Contains(got, reset+"\n") {
			t.Errorf("%q is printed in colour as %q, want %q in it", line, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("[    2.500000] kios: step mount 12 ms")
	f.Add("[    2.500000] kios: error: step mount failed: x")
	f.Add("[    2.500000][    T1] Kernel panic - not syncing: x")
	f.Fuzz(func(t *testing.T, line string) {
		if e := Parse(line); e.Uptime < 0 {
			t.Errorf("Parse(%q).Uptime = %s", line, e.Uptime)
		}
	})
}
