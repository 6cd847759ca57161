package userdata

import (
	"bytes"
	"encoding/json"
	"slices"
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
	foreign bool   // as user data it is a mistake, and as one part of many it may be for somebody else
}

func none(Handlers) Handler { return nil }

const (
	noShell  = "a node has no shell; what a pod can do, a pod does"
	noRemote = "a node reads nothing from elsewhere that its user data name; send the text itself"
)

var (
	nodeConfig  = format{name: "a NodeConfig", handler: func(h Handlers) Handler { return h.NodeConfig }}
	firstKiOS   = format{name: "user data of the first kiOS", handler: func(h Handlers) Handler { return h.FirstKiOS }}
	cloudConfig = format{name: "cloud-config", handler: func(h Handlers) Handler { return h.CloudConfig }}
	ignition    = format{name: "an Ignition configuration", handler: func(h Handlers) Handler { return h.Ignition }}
	shell       = format{name: "a shell script", handler: none, why: noShell}
	eksScript   = format{name: "a shell script for Amazon Linux 2", handler: none, why: noShell + "; write a NodeConfig, see docs/cloud/eks.md"}
	joinScript  = format{name: "a shell script with kubeadm join", handler: none, why: noShell + "; send cloud-config with that command in runcmd"}
	boothook    = format{name: "a boothook", handler: none, why: noShell + " (Cluster API for AWS needs cloudInit.insecureSkipSecretsManager)"}
	include     = format{name: "a list of URLs to include", handler: none, why: noRemote}
	handler     = format{name: "a part handler, a program", handler: none, why: noShell}
	archive     = format{name: "a cloud-config-archive", handler: none, why: "send the same as a MIME message"}
	jsonPatch   = format{name: "a patch for cloud-config", handler: none, why: "send the whole cloud-config"}
	mixed       = format{name: "a NodeConfig below the line #cloud-config", handler: none, foreign: true, why: "remove the first line"}
	broken      = format{name: "JSON", handler: func(Handlers) Handler { return notJSON }}
	butane      = format{name: "Butane's YAML", handler: none, foreign: true, why: "make Ignition of it with butane, and send that"}
	forKubeadm  = format{name: "a configuration of kubeadm", handler: none, foreign: true, why: "send cloud-config that has it in write_files, and runs kubeadm join --config"}
	unknown     = format{name: "in no format that this node knows", handler: none, foreign: true, why: "a NodeConfig has the field apiVersion: node.eks.aws/v1alpha1, cloud-config has the first line #cloud-config, and Ignition is JSON; docs/cloud/user-data.md has all that it reads"}
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

// mistaken are the types that people give to parts of other formats, too: a text that says
// what it is counts more.
var mistaken = []string{"text/cloud-config", "text/x-shellscript", "application/node.eks.aws"}

// inYAML matches a NodeConfig that is YAML.
var inYAML = lazyregexp.New(`(?m)^["']?apiVersion["']?\s*:\s*["']?node\.eks\.aws/`)

// formatOf finds out what a part is: its type tells, and else its beginning.
func formatOf(p part) format {
	text := bytes.TrimLeft(p.data, "\ufeff \t\r\n")
	text = bytes.TrimLeft(text[len(template().Find(text)):], " \t\r\n")
	f, typed := kinds[p.kind]
	own, begins := formatOfBeginning(text)
	switch {
	case begins && (!typed || slices.Contains(mistaken, p.kind)):
		f = own
	case !typed, f.name == cloudConfig.name && inYAML().Match(text):
		f = formatOfFields(text)
	}
	if begins && f.name == cloudConfig.name && inYAML().Match(text) {
		return mixed
	}
	if f.name == shell.name {
		return formatOfScript(text)
	}
	return f
}

// formatOfScript tells what is to be sent in place of a script.
func formatOfScript(text []byte) format {
	switch {
	case bytes.Contains(text, []byte("/etc/eks/bootstrap.sh")):
		return eksScript
	case bytes.Contains(text, []byte("kubeadm join")):
		return joinScript
	}
	return shell
}

func formatOfBeginning(text []byte) (format, bool) {
	for _, b := range beginnings {
		if hasPrefixFold(text, b.text) {
			return b.format, true
		}
	}
	return format{}, false
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
		case "kubeadm.k8s.io":
			return forKubeadm
		}
	}
	if bytes.HasPrefix(text, []byte("{")) {
		return formatOfJSON(text)
	}
	if inButane().Match(text) {
		return butane
	}
	return unknown
}

// inButane matches the field that Butane demands.
var inButane = lazyregexp.New(`(?m)^variant:\s*["']?[a-z]+["']?\s*$`)

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
