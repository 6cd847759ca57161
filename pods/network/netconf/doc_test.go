package netconf

import (
	"regexp"
	"strings"
	"testing"

	"kios/test/lab"
)

// The examples for users have no mistakes.
func TestDocumentedExamples(t *testing.T) {
	text := lab.ReadFile(t, "../README.md")
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(examples) < 4 {
		t.Fatalf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		if strings.Contains(e[1], "FIELD") {
			continue // the outline
		}
		if c, errs := Parse(path, []byte(e[1])); errs != nil || len(c.Interfaces) == 0 && c.Unlisted == Present {
			t.Errorf("%s%v", e[1], errs)
		}
	}
}
