package kubeadm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// registration says as what the node registers.
type registration struct {
	Name   string    `json:"name"`
	Taints []taint   `json:"taints"`
	Args   extraArgs `json:"kubeletExtraArgs"`

	// What follows a worker does not need.
	CRISocket       any `json:"criSocket"`
	IgnoreErrors    any `json:"ignorePreflightErrors"`
	ImagePullPolicy any `json:"imagePullPolicy"`
	ImagePullSerial any `json:"imagePullSerial"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
	Since  any    `json:"timeAdded"`
}

// check finds a taint with which no API server takes the node.
func (t taint) check() error {
	if t.Key == "" || !slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect) {
		return fmt.Errorf("the taint %.100q of nodeRegistration needs a key, and an effect that is NoSchedule, PreferNoSchedule or NoExecute", t.Key)
	}
	return nil
}

// extraArgs are flags of the kubelet: a map in v1beta3, and a list in v1beta4, where a
// name may be there more than once.
type extraArgs []arg

type arg struct {
	Name  string `json:"name"`
	Value text   `json:"value"`
}

// text is one, or a number or truth value that was meant to be one.
type text string

// UnmarshalJSON takes what YAML makes of a text without quotes.
func (t *text) UnmarshalJSON(value []byte) error {
	err := bounded.Scalar(value, (*string)(t))
	if errors.Is(err, bounded.ErrNested) {
		return errors.New("a value of nodeRegistration.kubeletExtraArgs is a list or map, but must be a string")
	}
	return err
}

// UnmarshalJSON reads both.
func (a *extraArgs) UnmarshalJSON(args []byte) error {
	if len(args) == 0 || args[0] != '{' {
		var list []arg
		err := json.Unmarshal(args, &list)
		*a = list
		return err
	}
	var byName map[string]text
	if err := json.Unmarshal(args, &byName); err != nil {
		return err
	}
	*a = nil
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		*a = append(*a, arg{name, byName[name]})
	}
	return nil
}

// apply fills in the node.
func (r *registration) apply(n *want.Node) {
	if r.Name != "" {
		n.Hostname = r.Name
	}
	if len(r.Taints) > 0 {
		n.Kubelet = want.Overlay(n.Kubelet, map[string]any{"registerWithTaints": taints(r.Taints)})
	}
	for _, arg := range r.Args {
		applyArg(n, arg.Name, string(arg.Value))
	}
}

// taints are those of a KubeletConfiguration. It is a list of any, as YAML would give it.
func taints(list []taint) (out []any) {
	for _, t := range list {
		one := map[string]any{"key": t.Key, "effect": t.Effect}
		if t.Value != "" {
			one["value"] = t.Value
		}
		out = append(out, one)
	}
	return out
}

func applyArg(n *want.Node, name, text string) {
	words := Words(text)
	switch {
	case strings.HasPrefix(name, "-"):
		n.Skip("%.100q in kubeletExtraArgs is not used: write the name of the flag without dashes before it", name)
	case strings.Trim(name, nameDigits) != "" || name == "":
		n.Skip("%.100q in kubeletExtraArgs is not used: it is not the name of a flag", name)
	case len(words) > 1:
		n.Skip("%s in kubeletExtraArgs is not used: its value is more than one word: put it in quotes", name)
	case name == "node-labels":
		applyLabels(n, strings.Join(words, ""))
	default:
		n.Flags = append(n.Flags, "--"+name+"="+strings.Join(words, ""))
	}
}

const nameDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// applyLabels reads KEY=VALUE,... of the flag.
func applyLabels(n *want.Node, text string) {
	labels := map[string]string{}
	for label := range strings.SplitSeq(text, ",") {
		if key, value, _ := strings.Cut(strings.TrimSpace(label), "="); key != "" {
			labels[key] = value
		}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	maps.Copy(n.Labels, labels)
}

// Words splits a text as systemd splits an environment variable on a command line: into
// words, without their quotes and backslashes. kubeadm leaves its flags in such a variable.
func Words(text string) []string {
	var w words
	for _, c := range text {
		w.add(c)
	}
	return w.end()
}

// words is what has been read so far.
type words struct {
	done    []string
	word    strings.Builder
	started bool // in a word, which may be empty
	escaped bool // after a backslash
	quote   rune // in quotes
}

func (w *words) add(c rune) {
	switch {
	case w.escaped:
		w.word.WriteRune(c)
		w.escaped = false
	case c == '\\':
		w.started, w.escaped = true, true
	case w.quote != 0 && c == w.quote:
		w.quote = 0
	case w.quote == 0 && (c == '"' || c == '\''):
		w.started, w.quote = true, c
	case w.quote == 0 && strings.ContainsRune(" \t\r\n", c):
		w.end()
	default:
		w.started = true
		w.word.WriteRune(c)
	}
}

func (w *words) end() []string {
	if w.started {
		w.done = append(w.done, w.word.String())
		w.word.Reset()
		w.started = false
	}
	return w.done
}
