package trial

import (
	"bytes"
	"path"
	"strings"
)

// ContainerdImports returns the files below /etc, but outside of /etc/containerd, that
// a configuration of containerd imports: patterns that are relative to /etc. It reads
// what is between "imports" and the next "]", which is enough of TOML for this list.
func ContainerdImports(text []byte) []string {
	var names []string
	for {
		_, rest, found := bytes.Cut(text, []byte("imports"))
		if !found {
			return names
		}
		list, after, _ := bytes.Cut(rest, []byte("]"))
		if head, values, isList := strings.Cut(string(list), "["); isList && strings.TrimSpace(head) == "=" {
			names = append(names, belowEtc(quoted(values))...)
		}
		text = after
	}
}

// quoted returns what is between quotes of either kind.
func quoted(text string) []string {
	var values []string
	for {
		start := strings.IndexAny(text, `"'`)
		if start < 0 {
			return values
		}
		value, rest, closed := strings.Cut(text[start+1:], text[start:start+1])
		if !closed {
			return values
		}
		values, text = append(values, value), rest
	}
}

func belowEtc(paths []string) []string {
	var names []string
	for _, p := range paths {
		name, below := strings.CutPrefix(path.Clean(p), "/etc/")
		if below && !strings.HasPrefix(name, "containerd/") {
			names = append(names, name)
		}
	}
	return names
}
