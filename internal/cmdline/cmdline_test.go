package cmdline

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		line string
		want Params
	}{
		{"", nil},
		{" \n", nil},
		{"quiet", Params{{"quiet", "", false}}},
		{"a=1 b=\n", Params{{"a", "1", true}, {"b", "", true}}},
		{`a="x y" b`, Params{{"a", "x y", true}, {"b", "", false}}},
		{`"a=x y" b=2`, Params{{"a", "x y", true}, {"b", "2", true}}},
		{`a="unfinished word`, Params{{"a", "unfinished word", true}}},
		{"root=UUID=12 a=b=c", Params{{"root", "UUID=12", true}, {"a", "b=c", true}}},
		{`"`, Params{{"", "", false}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Parse(tt.line)); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.line, diff)
		}
	}
}

func TestLast(t *testing.T) {
	p := Parse("a-b=1 c a_b=2")
	if got, found := p.Last("a-b"); got != "2" || !found {
		t.Errorf(`Last("a-b") = %q, %v, want "2", true`, got, found)
	}
	if _, found := p.Last("d"); found {
		t.Error(`Last("d") found something`)
	}
}

func TestOptions(t *testing.T) {
	with := func(change func(*Options)) Options {
		o := Defaults
		change(&o)
		return o
	}
	tests := []struct {
		line    string
		want    Options
		warning string // part of the only warning, "" for none
	}{
		{"", Defaults, ""},
		{"quiet foo=bar nvme_core.io_timeout=5", Defaults, ""},
		{"datapart=none", with(func(o *Options) { o.DataPart = "none" }), ""},
		{"datapart=/dev/vda2 datapart=auto", Defaults, ""},
		{`datapart="/dev/sda1"`, with(func(o *Options) { o.DataPart = "/dev/sda1" }), ""},
		{"datapart=vda2", Defaults, "datapart=vda2 is ignored"},
		{"datapart", Defaults, "datapart= is ignored"},
		{"datapart=/dev/../etc/passwd", Defaults, "is ignored"},
		{"datapart=PARTUUID=6B694F53-0000-4000-8000-000000000001", with(func(o *Options) { o.DataPart = "PARTUUID=6B694F53-0000-4000-8000-000000000001" }), ""},
		{"datapart=PARTUUID=1234", Defaults, "PARTUUID=1234 is ignored"},
		{"datapart=6b694f53-0000-4000-8000-000000000001", Defaults, "is ignored"},
		{"kios.disk=auto", with(func(o *Options) { o.Disk = "auto" }), ""},
		{"kios.config=http://h/f kios.config.sha256=ab", Defaults, ""},
		{"kios.configs=http://h/f", Defaults, "kios.configs is not an option"},
		{"kios.stop=5", with(func(o *Options) { o.StopAfter = 5 * time.Second }), ""},
		{"kios.stop=0", with(func(o *Options) { o.StopAfter = 0 }), ""},
		{"kios.stop=-1", Defaults, "kios.stop=-1 is ignored"},
		{"kios.stop=9999999999999", Defaults, "is ignored"},
		{"kios.watchdog=60", with(func(o *Options) { o.Watchdog = time.Minute }), ""},
		{"kios.watchdog=0", with(func(o *Options) { o.Watchdog = 0 }), ""},
		{"kios.watchdog=5", Defaults, "kios.watchdog=5 is ignored: give whole seconds, from 30 to 3600, or 0 for none"},
		{"kios.watchdog=off", Defaults, "is ignored"},
		{"kios.stopp=3", Defaults, "kios.stopp is not an option"},
		{"panic=0", with(func(o *Options) { o.StayUp = true }), ""},
		{"panic=0 panic=10", Defaults, ""},
		{"panic=x", Defaults, ""},
	}
	for _, tt := range tests {
		got, warnings := Parse(tt.line).Options()
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Options of %q (-want +got):\n%s", tt.line, diff)
		}
		text := strings.Join(warnings, "\n")
		if (tt.warning == "") != (text == "") || !strings.Contains(text, tt.warning) {
			t.Errorf("warnings of %q = %q, want %q", tt.line, text, tt.warning)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", `a="b c" d`, `"a=b c"`, "a\tb\n", `"""`, "datapart=/dev/x kios.stop=3 panic=0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		params := Parse(line)
		if len(params) > len(line) {
			t.Errorf("Parse(%q) has more words than the line has bytes", line)
		}
		opts, _ := params.Options()
		if opts.StopAfter < 0 || opts.StopAfter > maxStop {
			t.Errorf("StopAfter of %q = %v", line, opts.StopAfter)
		}
	})
}
