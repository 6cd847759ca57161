package nodeconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kios/pods/metadata/want"
)

// flags gives the kubelet the user's flags, in words as systemd gives it those of a file
// of environment variables, where nodeadm puts them. As there, the last one of a name
// counts, and in place of the configuration.
func (c *Collector) flags(n *want.Node) {
	flags := map[string]func(*want.Node, string) error{
		"cloud-provider":       cloudProvider,
		"node-labels":          nodeLabels,
		"register-with-taints": registerWithTaints,
		"node-ip":              nodeAddress,
		"hostname-override":    func(n *want.Node, name string) error { n.Hostname = name; return nil },
	}
	n.Flags = append(n.Flags, "--cloud-provider=external")
	for _, flag := range join(words(unescape(strings.Join(c.spec.Kubelet.Flags, " ")))) {
		name, value, _ := strings.Cut(flag, "=")
		apply, ours := flags[strings.TrimLeft(name, "-")]
		if !ours {
			n.Flags = append(n.Flags, flag)
			continue
		}
		if err := apply(n, value); err != nil {
			n.Skip("NodeConfig: kubelet.flags: %.200s is not used: %v", flag, err)
		}
	}
}

// unescape is the first thing that systemd does, as it reads the file: a backslash stands
// for the character after it. Quotes inside of a value stay.
func unescape(text string) string {
	var out strings.Builder
	escaped := false
	for _, r := range text {
		if !escaped && r == '\\' {
			escaped = true
			continue
		}
		escaped = false
		out.WriteRune(r)
	}
	return out.String()
}

// words is the second: it splits the variable into words, and removes quotes.
func words(text string) []string {
	var s splitter
	for _, r := range text {
		s.next(r)
	}
	return s.end()
}

// splitter splits a text into words. A quote that does not end reaches to the end.
type splitter struct {
	words   []string
	word    strings.Builder
	inWord  bool
	quote   rune
	escaped bool
}

func (s *splitter) next(r rune) {
	switch {
	case s.escaped:
		s.escaped = false
		s.word.WriteRune(r)
	case r == '\\':
		s.escaped, s.inWord = true, true
	case r == s.quote:
		s.quote = 0
	case s.quote != 0:
		s.word.WriteRune(r)
	case r == '"' || r == '\'':
		s.quote, s.inWord = r, true
	case strings.ContainsRune(" \t\n\r", r):
		s.end()
	default:
		s.inWord = true
		s.word.WriteRune(r)
	}
}

// end ends a word, and returns all.
func (s *splitter) end() []string {
	if s.inWord {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.inWord = false
	return s.words
}

// join makes --name=value of each flag, of two words if the value is one of its own. The
// kubelet takes a flag without a value for true, and _ for - in names.
func join(words []string) []string {
	var flags []string
	for i := 0; i < len(words); i++ {
		name, value, found := strings.Cut(words[i], "=")
		if next := i + 1; !found && next < len(words) && !strings.HasPrefix(words[next], "-") {
			value, found = words[next], true
			i = next
		}
		if !found {
			value = "true"
		}
		flags = append(flags, "--"+strings.ReplaceAll(strings.TrimLeft(name, "-"), "_", "-")+"="+value)
	}
	return flags
}

func cloudProvider(_ *want.Node, value string) error {
	if value != "external" {
		return errors.New("a node of EKS has the provider external")
	}
	return nil
}

func nodeAddress(n *want.Node, value string) error {
	n.Files = append(n.Files, want.File{Path: nodeIP, Content: []byte(value + "\n")})
	return nil
}

func nodeLabels(n *want.Node, value string) error {
	for label := range strings.SplitSeq(value, ",") {
		if name, value, _ := strings.Cut(label, "="); name != "" {
			n.Labels = union(n.Labels, map[string]string{strings.TrimSpace(name): strings.TrimSpace(value)})
		}
	}
	return nil
}

// registerWithTaints reads KEY=VALUE:EFFECT, or KEY:EFFECT.
func registerWithTaints(n *want.Node, value string) error {
	taints := []any{}
	for text := range strings.SplitSeq(value, ",") {
		if text == "" {
			continue
		}
		keyValue, effect, _ := strings.Cut(text, ":")
		key, value, _ := strings.Cut(keyValue, "=")
		if !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect) || key == "" {
			return fmt.Errorf("%.100q is not a taint: KEY=VALUE:EFFECT", text)
		}
		taint := map[string]any{"key": key, "effect": effect}
		if value != "" {
			taint["value"] = value
		}
		taints = append(taints, taint)
	}
	n.Kubelet = mergeFields(n.Kubelet, map[string]any{"registerWithTaints": taints})
	return nil
}
