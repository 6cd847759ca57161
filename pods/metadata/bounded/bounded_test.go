package bounded

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"kios/test/lab"
	"kios/test/lab/formattest"
)

func limit(n int) *int { return &n }

func TestGunzip(t *testing.T) {
	packed := formattest.Gzip([]byte("text"))
	if got, err := Gunzip(packed, limit(4)); err != nil || string(got) != "text" || !IsGzip(packed) {
		t.Errorf("Gunzip = %q, %v", got, err)
	}
	for _, bad := range [][]byte{packed[:len(packed)-1], packed[:5], []byte("text"), nil} {
		if got, err := Gunzip(bad, limit(100)); err == nil || !strings.Contains(err.Error(), "cannot be unpacked with gzip") {
			t.Errorf("Gunzip(%x) = %q, want an error", bad, got)
		}
	}
	left := 6
	if _, err := Gunzip(packed, &left); err != nil || left != 2 {
		t.Errorf("%d bytes are left of 6, %v", left, err)
	}
	if _, err := Gunzip(packed, &left); err == nil || left >= 0 {
		t.Errorf("after too much, %d bytes are left, %v", left, err)
	}
	bomb := formattest.Gzip(make([]byte, 16<<20))
	if used := lab.Allocated(func() {
		if _, err := Gunzip(bomb, limit(1<<20)); err == nil || !strings.Contains(err.Error(), "more than the 1048576 bytes") {
			t.Errorf("Gunzip of 16 MiB = %v", err)
		}
	}); used > 12<<20 { // 8 MiB, and a little more with the race detector
		t.Errorf("Gunzip of 16 MiB with a limit of 1 MiB takes %d bytes", used)
	}
}

func TestBase64(t *testing.T) {
	data := []byte{0xfb, 0xff, 0, 1}
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(data), base64.RawStdEncoding.EncodeToString(data),
		base64.URLEncoding.EncodeToString(data), "+/8\n A\tAQ\r\n==\n",
	} {
		if got, err := Base64([]byte(text)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Base64(%q) = %x, %v", text, got, err)
		}
	}
	if got, err := Base64([]byte("#cloud-config")); err == nil {
		t.Errorf("Base64(#cloud-config) = %q", got)
	}
}

func TestYAML(t *testing.T) {
	var v struct {
		Name string   `json:"name"`
		List []string `json:"list"`
	}
	lab.Must(t, YAML([]byte("name: &n 7\nlist: [*n, b]\nunknown: {x: 1}\n"), &v))
	if v.Name != "7" || len(v.List) != 2 || v.List[0] != "7" {
		t.Errorf("YAML = %+v", v)
	}
	lab.Must(t, YAML([]byte(`{"name": "json"}`), &v))
	if v.Name != "json" {
		t.Errorf("YAML of JSON = %+v", v)
	}
	for text, want := range map[string]string{
		"name: [":               "yaml: ",
		"name: !!binary //8=\n": "not UTF-8",
		"a: &a [*a]\n":          "contains itself",
		"a: 1\nb: *hush\n":      "line 2, column 4: yaml: an alias has no anchor",
		"a: {{ hush: 1 }: 2}\n": "a list or map is in place of a key",
		"a: !!int hush\n":       "a value is of the type !!str, and cannot be !!int",
		"name: " + strings.Repeat("a", MaxText) + "\n": "at most 1048576",
		"list:\n\t- a\n":     "line 2: found character that cannot start any token (a tab does not indent",
		"list: [a]\n x: b\n": "did not find expected key (this line or the one before is indented too far or too little)",
		"- a\n":              "the whole is an array, but must be a map of fields",
		"list: {}\n":         "the field list is an object, but must be a list",
	} {
		if err := YAML([]byte(text), &v); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hush") {
			t.Errorf("YAML(%.40q) = %v, want %q in one line", text, err, want)
		}
	}
}

// bombs are texts that are small, and large once they are parsed.
func bombs() map[string]string {
	laughs := "a0: &a0 [lol]\n"
	for i := 1; i < 30; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return map[string]string{
		"billion laughs": laughs,
		"long text":      "a: &a " + strings.Repeat("x", 4<<10) + "\nb: [" + strings.Repeat("*a,", 40_000) + "]\n",
		"list":           "[" + strings.Repeat("a,", MaxText/2-2) + "]",
		"maps in a list": "[" + strings.Repeat("a: b,", MaxText/5-1) + "]",
		"maps":           strings.Repeat("- a: b\n", MaxText/7),
		"deep":           strings.Repeat("[", MaxText-1),
		"binary":         binary("!!binary"),
		"binary by tag":  "%TAG !b! tag:yaml.org,2002:bin\n---\n" + binary("!b!ary"),
		"binary as %62":  binary("!!%62inary"),
	}
}

// binary has a value of the type many times.
func binary(tag string) string {
	return "a: &a " + tag + " " + strings.Repeat("AAAA", 16<<10) + "\nb: [" + strings.Repeat("*a,", 5000) + "]\n"
}

// TestBombs holds what user data can make of the machine's memory and time.
func TestBombs(t *testing.T) {
	for name, text := range bombs() {
		t.Run(name, func(t *testing.T) {
			var v any
			var err error
			used := lab.Allocated(func() { err = YAML([]byte(text), &v) })
			used += lab.Allocated(func() { Binary([]byte(text)) })
			t.Logf("%d bytes of text allocate %d MiB: %.80v", len(text), used>>20, err)
			if used > 256<<20 {
				t.Errorf("%d bytes of text allocate %d MiB", len(text), used>>20)
			}
		})
	}
}

// heaviest are the texts that take the most of those that are read, by what they repeat. KEY
// is another one each time.
var heaviest = map[string]string{
	"pairs": "a: b,", "maps in lists": "[{}],", "aliases": "*x,", "JSON": `{"a":1},`, "long block": "\n- aaaaaa", "fields": "\n? KEY",
}

// heavy repeats a text as often as it is still read: in lines, or in a list.
func heavy(piece string) []byte {
	out := bytes.NewBufferString("[")
	aliases := strings.Contains(piece, "*")
	switch {
	case piece[0] == '\n':
		out.Reset()
	case aliases:
		out.WriteString("&x {a: },")
	}
	for used, i := weight(out.Bytes()), 0; out.Len() < MaxText-16; i++ {
		next := strings.ReplaceAll(piece, "KEY", fmt.Sprintf("%x", i))
		if used += weight([]byte(next + "\n")); used >= maxWeight-1 || aliases && i == maxValues-3 {
			break
		}
		out.WriteString(next)
	}
	if piece[0] == '\n' {
		return out.Bytes()
	}
	return append(bytes.TrimSuffix(out.Bytes(), []byte(",")), ']')
}

// peak names the text whose memory a process of its own is to find out.
const peak = "KIOS_TEST_PEAK"

// TestPeak holds what the pod takes of its 96 MiB, with a collector that gives back at once,
// for texts that are as large as they may be.
func TestPeak(t *testing.T) {
	if name := os.Getenv(peak); name != "" {
		printPeak(heavy(heaviest[name]))
		return
	}
	for name, piece := range heaviest {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPeak$")
			cmd.Env = append(os.Environ(), peak+"="+name, "GOGC=10")
			out, err := cmd.Output()
			var mib int
			var mistake string
			if _, scanErr := fmt.Sscanf(string(out), "%d MiB, %q", &mib, &mistake); err != nil || scanErr != nil {
				t.Fatal(err, scanErr, string(out))
			}
			t.Logf("%s: %d bytes take %d MiB: %q", name, len(heavy(piece)), mib, mistake)
			if mib > 48 || strings.Contains(mistake, "too many fields") {
				t.Errorf("%d bytes take %d MiB: %q", len(heavy(piece)), mib, mistake)
			}
		})
	}
}

// printPeak has all readers read a text. What the system gave to Go is not given back in so
// short a time.
func printPeak(text []byte) {
	var v any
	err := YAML(text, &v)
	v = nil
	Remarks("doc", text)
	JSON(text, &v)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Printf("%d MiB, %q\n", stats.Sys>>20, fmt.Sprint(err))
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte("a: &a [x]\nb: {<<: *a}\n"))
	f.Add([]byte(`{"a": [1, 2.5, null, true]}`))
	f.Add([]byte("a: !!binary aGk=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if used := lab.Allocated(func() { YAML(text, &v) }); used > uint64(64<<20+2000*len(text)) {
			t.Errorf("%d bytes of text allocate %d", len(text), used)
		}
	})
}
