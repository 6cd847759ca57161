// Package cloudconfig reads those parts of cloud-init's #cloud-config that a node without
// a shell has a use for, and names the others: files, the host name, time servers,
// certificates, and the kubeadm join of Cluster API.
//
// The format is that of cloud-init's modules cc_write_files, cc_set_hostname, cc_ntp,
// cc_ca_certs, cc_runcmd and cc_bootcmd. Each field is read by itself: a mistake in one is
// told, and the others count.
package cloudconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/hostfile"
	"kios/pods/metadata/joincmd"
	"kios/pods/metadata/want"
)

// Reader reads cloud-config.
type Reader struct {
	Join joincmd.Join // reads the file that kubeadm join --config names
}

// Read reads a text of #cloud-config, or a template of jinja for one.
func (r Reader) Read(text []byte, m *want.Machine, n *want.Node) error {
	text, err := render(text, m.Jinja)
	if err != nil {
		return err
	}
	n.Skipped = append(n.Skipped, bounded.Remarks("cloud-config", text)...)
	emptyBlock := hasEmptyBlock(text)
	if text, err = bounded.Binary(text); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := bounded.YAML(text, &fields); err != nil {
		return err
	}
	files := hostfile.New(n)
	c := &config{
		fields: fields, machine: m, node: n, files: files, emptyBlock: emptyBlock,
		commands: &joincmd.Reader{Join: r.Join, Files: files, Machine: m, Node: n},
	}
	return c.read()
}

// config is one text that is being read.
type config struct {
	fields   map[string]json.RawMessage
	machine  *want.Machine
	node     *want.Node
	files    *hostfile.List
	commands *joincmd.Reader

	emptyBlock bool // a file's content may be empty by mistake
}

// read reads what is known, in the order in which cloud-init does it: commands come after
// the files that they use.
func (c *config) read() error {
	errs := []error{
		field(c, "write_files", c.writeFiles),
		c.hostname(),
		field(c, "ntp", c.ntp),
		field(c, "ca_certs", c.certificates),
		field(c, "ca-certs", c.certificates),
		field(c, "bootcmd", c.run),
		field(c, "runcmd", c.run),
	}
	c.commands.Done()
	c.files.Done()
	c.skipOthers()
	return errors.Join(errs...)
}

// field takes a field out of those that are there, and reads it.
func field[T any](c *config, name string, read func(T) error) error {
	text, found := c.fields[name]
	delete(c.fields, name)
	if !found || string(text) == "null" {
		return nil
	}
	var value T
	if err := bounded.JSON(text, &value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, unknown := range bounded.Unknown(text, &value) {
		c.node.Skip("cloud-config: %s: %s", name, unknown)
	}
	if err := read(value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// reasons say why fields are skipped, where there is more to say than that they are.
var reasons = map[string]string{
	"users":               "a node has no users",
	"user":                "a node has no users",
	"groups":              "a node has no users",
	"password":            "nobody logs in to a node",
	"chpasswd":            "nobody logs in to a node",
	"ssh_authorized_keys": "nobody logs in to a node",
	"ssh_pwauth":          "nobody logs in to a node",
	"packages":            "a node installs none; use pods",
	"mounts":              "pods bring their volumes",
	"disk_setup":          "pods bring their volumes; see docs/node.md for the data partition",
	"fs_setup":            "pods bring their volumes; see docs/node.md for the data partition",
	"growpart":            "the pod disk grows the data partition",
	"resize_rootfs":       "the pod disk grows the data partition",
	"swap":                "a node has no swap",
	"timezone":            "write /etc/localtime and /etc/timezone with write_files",
	"manage_etc_hosts":    "a node keeps its own line in /etc/hosts",
	"resolv_conf":         "write /etc/resolv.conf with write_files",
	"power_state":         "a node joins without a reboot",
}

// known are the fields that a node has a use for, as far as others are taken for them.
var known = []string{"write_files", "hostname", "fqdn", "prefer_fqdn_over_hostname", "ntp", "ca_certs", "bootcmd", "runcmd"}

// silent are fields that ask nothing of a node.
var silent = []string{"preserve_hostname", "final_message", "output", "merge_how", "merge_type", "version"}

// nothing are values that ask for nothing.
var nothing = []string{"null", "false", `""`, "[]", "{}"}

// maxSkipped bounds the names of fields in the log.
const maxSkipped = 64

// skipOthers names the fields that are left.
func (c *config) skipOthers() {
	maps.DeleteFunc(c.fields, func(_ string, value json.RawMessage) bool { return slices.Contains(nothing, string(value)) })
	for i, name := range slices.Sorted(maps.Keys(c.fields)) {
		if i == maxSkipped {
			c.node.Skip("cloud-config: %d more fields", len(c.fields)-i)
			return
		}
		if slices.Contains(silent, name) {
			continue
		}
		reason := reasons[name]
		if reason == "" {
			reason = "a node does not do it" + bounded.Meant(name, known)
		}
		c.node.Skip("cloud-config: %.60q: %s", name, reason)
	}
}

// scalar is a text, or a number or truth value that a text was meant to be.
type scalar string

// UnmarshalJSON takes what YAML makes of a text without quotes.
func (s *scalar) UnmarshalJSON(text []byte) error {
	return bounded.Scalar(text, (*string)(s))
}

// truth is a truth value, in the words of cloud-init.
type truth bool

// UnmarshalJSON takes what YAML takes for one, and a text or number that cloud-init does.
func (t *truth) UnmarshalJSON(text []byte) error {
	var word scalar
	if err := json.Unmarshal(text, &word); err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(string(word))) {
	case "true", "1", "on", "yes", "y":
		*t = true
	case "false", "0", "off", "no", "n", "":
		*t = false
	default:
		return errors.New("there is something else in place of true or false")
	}
	return nil
}

// list is a list of texts, or one of them.
type list []scalar

// UnmarshalJSON takes one text for a list of one.
func (l *list) UnmarshalJSON(text []byte) error {
	if text[0] == '[' || string(text) == "null" {
		return json.Unmarshal(text, (*[]scalar)(l))
	}
	*l = make(list, 1)
	return json.Unmarshal(text, &(*l)[0])
}
