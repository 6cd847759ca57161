package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/plugin/registry"

	"kios/upstream/containerd/userconfig"
)

// zeroOf is how a file says that a key has no value, "" if it cannot.
func zeroOf(t reflect.Type) string {
	return map[reflect.Kind]string{
		reflect.String: `""`, reflect.Slice: "[]", reflect.Map: "{}", reflect.Struct: "{}",
		reflect.Int: "0", reflect.Int32: "0", reflect.Int64: "0", reflect.Float64: "0.0",
	}[t.Kind()]
}

// zeros are the keys of a section without their values.
func zeros(t reflect.Type, prefix string) (text string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case options == "inline" || f.Anonymous && name == "":
			text += zeros(f.Type, prefix)
		case name == "" || name == "-" || name == "version":
		case name == "stats_collect_period" && f.Type.Kind() == reflect.Int: // 0 is no default, but a busy loop
		case f.Type.Kind() == reflect.Struct:
			text += zeros(f.Type, prefix+name+".")
		case zeroOf(f.Type) != "":
			text += prefix + name + " = " + zeroOf(f.Type) + "\n"
		}
	}
	return text
}

// Programs that write a configuration often write all keys. One without a value is not a
// user's wish: it costs nothing, and no line.
func TestKeysWithoutValue(t *testing.T) {
	texts := []string{"", "\n", v4, v4 + "[plugins]\n", v4 + `imports = [""]` + "\n", v4 + zeros(reflect.TypeFor[srvconfig.Config](), "")}
	for _, r := range registry.Graph(nil) {
		if r.Config != nil {
			texts = append(texts, fmt.Sprintf("%s[plugins.%q]\n%s", v4, r.URI(), zeros(reflect.TypeOf(r.Config).Elem(), "")))
		}
	}
	for _, text := range texts {
		c, lines := check(t, etcWith(t, userconfig.Main, text))
		if len(lines) > 0 {
			t.Errorf("lines = %q, want none of the file\n%s", lines, text)
		}
		if c == nil {
			t.Errorf("nothing is used of the file\n%s", text)
			continue
		}
		checkUsable(t, c)
	}
}

// A value that means something else than none has its line, without a path that the user
// has not written.
func TestLinesNameNoFileOfOurs(t *testing.T) {
	_, lines := check(t, etcWith(t, userconfig.Main, v4+`disabled_plugins = [""]`+"\n"))
	if len(lines) != 1 || !strings.Contains(lines[0], `disabled_plugins is not used: invalid disabled plugin URI ""`) {
		t.Errorf("lines = %q", lines)
	}
}
