package nodeconfig

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kios/pods/metadata/want"
	"kios/test/lab"
)

// authority is what stands for a certificate in the documentation.
var authority = regexp.MustCompile(`LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t\.\.\.|\$\(openssl [^)]*\)`)

// The NodeConfigs of the documentation work, and have no field that is unknown.
func TestDocumentation(t *testing.T) {
	var configs []string
	for _, page := range []struct {
		name  string
		least int
	}{{"eks.md", 3}, {"README.md", 1}} {
		text := lab.ReadFile(t, "../../../docs/cloud/"+page.name)
		found := examples(authority.ReplaceAllString(text, base64.StdEncoding.EncodeToString(certificate)))
		if len(found) < page.least {
			t.Fatalf("docs/cloud/%s has %d NodeConfigs", page.name, len(found))
		}
		configs = append(configs, found...)
	}
	whole := 0
	for _, config := range configs {
		if strings.Contains(config, "cluster:") {
			whole++
		}
		var n want.Node
		c := &Collector{Root: fourProcessors(t)}
		lab.Must(t, c.Read([]byte(inCluster("172.20.0.0/16")), nil, &n))
		if err := c.Read([]byte(config), nil, &n); err != nil {
			t.Errorf("%v in:\n%s", err, config)
		}
		if err := c.Finish(machine(), &n); err != nil || n.Skipped != nil {
			t.Errorf("%v, skipped %q of:\n%s", err, n.Skipped, config)
		}
	}
	if whole < 3 {
		t.Errorf("%d examples have a cluster", whole)
	}
}

// examples returns the NodeConfigs of a text, also those within others.
func examples(text string) []string {
	lines := strings.Split(text, "\n")
	var all []string
	for i, line := range lines {
		indent, found := strings.CutSuffix(line, "apiVersion: "+version)
		if !found || strings.TrimSpace(indent) != "" {
			continue
		}
		rest := lines[i:]
		end := slices.IndexFunc(rest, func(l string) bool {
			return !strings.HasPrefix(l, indent) || strings.HasPrefix(l, "```") || strings.TrimSpace(l) == "END"
		})
		all = append(all, strings.ReplaceAll("\n"+strings.Join(rest[:end], "\n"), "\n"+indent, "\n"))
	}
	return all
}
