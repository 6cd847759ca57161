package cloudconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kios/internal/identity"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"

	"sigs.k8s.io/yaml"
)

// names are the fields that say how the machine is called.
type names struct {
	hostname, fqdn scalar
	preferFQDN     bool
}

// hostname follows cloud-init's rule: the host name is the first part of a longer name,
// unless prefer_fqdn_over_hostname says otherwise.
func (c *config) hostname() error {
	var n names
	var keep bool
	err := errors.Join(
		field(c, "hostname", func(v scalar) error { n.hostname = v; return nil }),
		field(c, "fqdn", func(v scalar) error { n.fqdn = v; return nil }),
		field(c, "prefer_fqdn_over_hostname", func(v truth) error { n.preferFQDN = bool(v); return nil }),
		field(c, "preserve_hostname", func(v truth) error { keep = bool(v); return nil }),
	)
	name := n.choose()
	if err != nil || keep || name == "" {
		return err
	}
	name, err = identity.ParseHostname(name)
	if err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	c.node.Hostname = name
	return nil
}

func (n names) choose() string {
	host, fqdn := string(n.hostname), string(n.fqdn)
	if fqdn == "" && strings.Contains(host, ".") {
		fqdn, host = host, ""
	}
	if n.preferFQDN && fqdn != "" {
		return fqdn
	}
	if host == "" {
		host, _, _ = strings.Cut(fqdn, ".")
	}
	return host
}

// ntp is the field of that name, less what is about chrony's own configuration.
type ntp struct {
	Enabled *truth `json:"enabled"`
	Servers list   `json:"servers"`
	Pools   list   `json:"pools"`
}

// timeFile is where the pod time reads its servers.
const timeFile = "/etc/kios/time.yaml"

func (c *config) ntp(v ntp) error {
	if v.Enabled != nil && !*v.Enabled || len(v.Servers)+len(v.Pools) == 0 {
		return nil
	}
	settings := map[string]list{}
	if len(v.Servers) > 0 {
		settings["servers"] = v.Servers
	}
	if len(v.Pools) > 0 {
		settings["pools"] = v.Pools
	}
	text, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	return c.files.Add(want.File{Path: timeFile, Content: text})
}

// certificates is the field ca_certs.
type certificates struct {
	Trusted    list  `json:"trusted"`
	Remove     truth `json:"remove_defaults"`
	RemoveDash truth `json:"remove-defaults"`
}

func (c *config) certificates(v certificates) error {
	for i, text := range v.Trusted {
		if strings.TrimSpace(string(text)) == "" {
			return fmt.Errorf("trusted: item %d is empty: indent the text below it deeper", i+1)
		}
		pem := strings.TrimSpace(string(text)) + "\n"
		if err := c.files.Add(want.File{Path: c.newCertificate(), Content: []byte(pem)}); err != nil {
			return err
		}
	}
	if v.Remove || v.RemoveDash {
		c.node.Skip("cloud-config: ca_certs.remove_defaults: a node keeps its certificates; write /etc/ssl/certs/ca-certificates.crt in their place")
	}
	return nil
}

// newCertificate is a path that no other part of the user data has.
func (c *config) newCertificate() string {
	for i := 1; ; i++ {
		if name := fmt.Sprintf("/etc/ssl/certs/cloud-config-%d.pem", i); !c.files.Contains(name) {
			return name
		}
	}
}

// words is one of the commands of runcmd or bootcmd: a text for a shell, or its words.
type words struct {
	list
	isText bool
}

// UnmarshalJSON notes which of both a command is.
func (w *words) UnmarshalJSON(text []byte) error {
	w.isText = text[0] != '['
	return w.list.UnmarshalJSON(text)
}

// run reads the commands. One with a mistake does not keep others from being read.
func (c *config) run(commands []json.RawMessage) error {
	var mistakes bounded.Mistakes
	for i, text := range commands {
		var w words
		if err := bounded.JSON(text, &w); err != nil {
			mistakes.Add(fmt.Errorf("item %d: %w", i+1, err))
			continue
		}
		mistakes.Add(c.runOne(w))
	}
	return mistakes.Err()
}

func (c *config) runOne(w words) error {
	if len(w.list) == 0 {
		return nil
	}
	if w.isText {
		return c.commands.Script(string(w.list[0]))
	}
	args := make([]string, len(w.list))
	for i, word := range w.list {
		args[i] = string(word)
	}
	return c.commands.Command(args)
}
