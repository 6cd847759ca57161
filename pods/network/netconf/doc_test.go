package netconf

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples for users have no mistakes.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) < 4 {
		t.Fatalf("only %d examples were found", len(examples))
	}
	for _, e := range examples {
		if strings.Contains(e[1], "FIELD") {
			continue // the outline
		}
		if c, errs := Parse(path, []byte(e[1])); errs != nil || len(c.Interfaces) == 0 {
			t.Errorf("%s%v", e[1], errs)
		}
	}
}
