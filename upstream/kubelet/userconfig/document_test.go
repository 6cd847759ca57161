package userconfig

import (
	"strings"
	"testing"
)

// Of several documents the kubelet reads the first. Templates leave empty ones behind.
func TestSeveralDocuments(t *testing.T) {
	const more = head + "maxPods: 30\n"
	for _, tt := range []struct {
		name, text string
		said       bool
	}{
		{"one", more, false},
		{"one, marked", "# Source: x\n---\n" + more + "---\n", false},
		{"an empty second", more + "---\n# nothing\n", false},
		{"two", more + "---\n" + head + "maxPods: 40\n", true},
		{"two of CRLF", strings.ReplaceAll(more+"---\n"+more, "\n", "\r\n"), true},
		{"another kind", more + "--- # the next\nkind: ConfigMap\n", true},
		{"dashes in a value", more + "clusterDomain: |\n  ---\n  x\n", false},
	} {
		d := &document{}
		if err := d.parse([]byte(tt.text)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if said := strings.Contains(strings.Join(d.notes, ""), "only the first YAML document"); said != tt.said || d.fields["maxPods"] != 30.0 {
			t.Errorf("%s: notes %q, maxPods %v, want a note: %t", tt.name, d.notes, d.fields["maxPods"], tt.said)
		}
	}
}
