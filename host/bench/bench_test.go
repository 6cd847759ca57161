package bench

import (
	"strings"
	"testing"
	"time"

	"kios/host/arch"
)

// Without a reference there is nothing to compare with, and all else is there.
func TestReport(t *testing.T) {
	systems := []System{{Name: "a"}, {Name: "b", Reference: true}}
	samples := [][]Sample{
		{{2 * time.Second, 100e6}, {4 * time.Second, 300e6}, {3 * time.Second, 200e6}},
		{{4 * time.Second, 100e6}, {4 * time.Second, 100e6}, {9 * time.Second, 100e6}},
	}
	for _, tt := range []struct {
		systems []System
		want    string
	}{
		{systems, `| system | boot to container running, s: min / median / max | reference ÷ this | memory in use, MB: median |
|---    |---                                               |---               |---                       |
| a      | 2.0 / 3.0 / 4.0                                  | 2.00             | 200                      |
| b      | 4.0 / 4.0 / 9.0                                  | 1.00             | 100                      |
`},
		{systems[:1], `| system | boot to container running, s: min / median / max | memory in use, MB: median |
|---    |---                                               |---                       |
| a      | 2.0 / 3.0 / 4.0                                  | 200                      |
`},
	} {
		var got strings.Builder
		Report(&got, tt.systems, samples)
		if squeeze(got.String()) != squeeze(tt.want) {
			t.Errorf("%d systems:\n%s\nwant\n%s", len(tt.systems), got.String(), tt.want)
		}
	}
}

// squeeze leaves out what only aligns columns.
func squeeze(table string) string { return strings.ReplaceAll(table, " ", "") }

// The pod writes to the serial port that machines of the architecture have.
func TestPod(t *testing.T) {
	for _, a := range arch.All {
		if text := string(Pod(a)); !strings.Contains(text, `"/dev/`+a.QEMU.Console+`"`) || strings.Contains(text, "CONSOLE\"") {
			t.Errorf("%s: %s", a.Name, text)
		}
	}
}
