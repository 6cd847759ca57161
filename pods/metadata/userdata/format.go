package userdata

import (
	"bytes"
	"encoding/json"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// format is what a part may be.
type format struct {
	name    string
	handler func(Handlers) Handler
	why     string // it is not read, if handler finds none
}

func none(Handlers) Handler { return nil }

const (
	noShell  = "a node has no shell; what a pod can do, a pod does"
	noRemote = "a node reads nothing from elsewhere that its user data name; send the text itself"
)

var (
	nodeConfig  = format{"a NodeConfig", func(h Handlers) Handler { return h.NodeConfig }, ""}
	firstKiOS   = format{"user data of the first kiOS", func(h Handlers) Handler { return h.FirstKiOS }, ""}
	cloudConfig = format{"cloud-config", func(h Handlers) Handler { return h.CloudConfig }, ""}
	ignition    = format{"an Ignition configuration", func(h Handlers) Handler { return h.Ignition }, ""}
	shell       = format{"a shell script", none, noShell}
	boothook    = format{"a boothook", none, noShell + " (Cluster API for AWS needs cloudInit.insecureSkipSecretsManager)"}
	include     = format{"a list of URLs to include", none, noRemote}
	handler     = format{"a part handler, a program", none, noShell}
	archive     = format{"a cloud-config-archive", none, "send the same as a MIME message"}
	jsonPatch   = format{"a patch for cloud-config", none, "send the whole cloud-config"}
	broken      = format{"JSON", func(Handlers) Handler { return notJSON }, ""}
	unknown     = format{"in no format that this node knows", none, "cloud-config has the first line #cloud-config, and Ignition is JSON; docs/cloud/user-data.md has all that it reads"}
)

// kinds are the media types that say what a part is.
var kinds = map[string]format{
	"application/node.eks.aws":             nodeConfig,
	"text/cloud-config":                    cloudConfig,
	"application/vnd.coreos.ignition+json": ignition,
	"text/x-shellscript":                   shell,
	"text/x-shellscript-per-boot":          shell,
	"text/x-shellscript-per-instance":      shell,
	"text/x-shellscript-per-once":          shell,
	"text/x-sh":                            shell,
	"application/x-sh":                     shell,
	"text/cloud-boothook":                  boothook,
	"text/x-include-url":                   include,
	"text/x-include-once-url":              include,
	"text/part-handler":                    handler,
	"text/cloud-config-archive":            archive,
	"text/cloud-config-jsonp":              jsonPatch,
	"text/upstart-job":                     shell,
}

// beginnings are the first words of texts that say what they are. The longer of two comes
// first.
var beginnings = []struct {
	text string
	format
}{
	{"#cloud-config-archive", archive},
	{"#cloud-config-jsonp", jsonPatch},
	{"#cloud-config", cloudConfig},
	{"#cloud-boothook", boothook},
	{"#include", include},
	{"#part-handler", handler},
	{"#upstart-job", shell},
	{"#!", shell},
}

// template matches the line that has cloud-init fill in names of the machine, before it
// looks at what the text is.
var template = lazyregexp.New(`^##\s*(?i:template):.*\n?`)

// version matches the field that says what YAML or JSON of Kubernetes' kind is.
var version = lazyregexp.New(`(?m)(?:^["']?|[{,]\s*")apiVersion["']?\s*:\s*["']?([a-z0-9.]+)/`)

// formatOf finds out what a part is: its type tells, and else its beginning.
func formatOf(p part) format {
	if f, ok := kinds[p.kind]; ok {
		return f
	}
	text := bytes.TrimLeft(p.data, "\ufeff \t\r\n")
	text = bytes.TrimLeft(text[len(template().Find(text)):], " \t\r\n")
	for _, b := range beginnings {
		if hasPrefixFold(text, b.text) {
			return b.format
		}
	}
	return formatOfFields(text)
}

func hasPrefixFold(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(string(text[:len(prefix)]), prefix)
}

// formatOfFields looks for the field that tells.
func formatOfFields(text []byte) format {
	if m := version().FindSubmatch(text); m != nil {
		switch string(m[1]) {
		case "node.eks.aws":
			return nodeConfig
		case "kios.redcoat.dev":
			return firstKiOS
		}
	}
	if bytes.HasPrefix(text, []byte("{")) {
		return formatOfJSON(text)
	}
	return unknown
}

// inIgnition matches the field that Ignition has and others do not.
var inIgnition = lazyregexp.New(`(?i)"ignition"\s*:`)

// formatOfJSON takes a text with a mistake for what it was meant to be, so that whoever reads
// it says where that is.
func formatOfJSON(text []byte) format {
	var fields map[string]json.RawMessage
	err := bounded.JSON(text, &fields)
	if err != nil && inIgnition().Match(text) {
		return ignition
	}
	if err != nil {
		return broken
	}
	for name, value := range fields {
		if strings.EqualFold(name, "ignition") && string(value) != "null" {
			return ignition
		}
	}
	return unknown
}

// notJSON is the handler of JSON with mistakes.
func notJSON(text []byte, _ *want.Machine, _ *want.Node) error {
	var value map[string]json.RawMessage
	return bounded.JSON(text, &value)
}
