package house

import (
	"go/build/constraint"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kios/test/lab"
)

// listedTags is the line of the Makefile with the tags that vet and staticcheck get.
var listedTags = regexp.MustCompile(`(?m)^TAGS := (\S+)$`)

// A test with a tag that the Makefile does not know would never be compiled. Those
// with more than one would not be found.
func TestTagsAreListed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	lab.Must(t, err)
	line := listedTags.FindSubmatch(text)
	if line == nil || string(line[1]) != tags {
		t.Errorf("the Makefile has the tags %q, this test %q", line, tags)
	}
	used := map[string]bool{}
	err = lab.Tagged(root, func(path string, expr constraint.Expr) {
		tag, single := expr.(*constraint.TagExpr)
		if !single || !slices.Contains(strings.Split(tags, ","), tag.Tag) {
			t.Errorf("%s: its build tag is %s, want one of %s", path, expr, tags)
			return
		}
		if strings.HasPrefix(path, "upstream/") && tag.Tag != "guest" {
			t.Errorf("%s: its build tag is %s, and in upstream/ only those with guest are found", path, tag.Tag)
		}
		used[tag.Tag] = true
	})
	lab.Must(t, err)
	for tag := range strings.SplitSeq(tags, ",") {
		if !used[tag] {
			t.Errorf("no file has the build tag %s", tag)
		}
	}
}
