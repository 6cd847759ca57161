package netdata

import (
	"fmt"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// Formats of network data, as want.Network names them.
const (
	NoCloud      = "nocloud"      // network-config, version 1 or 2
	Hetzner      = "hetzner"      // the same, version 1
	OpenStack    = "openstack"    // network_data.json
	DigitalOcean = "digitalocean" // the whole v1.json, of which interfaces and dns count
)

// maxText is some times what machines with dozens of interfaces have. Clouds send a few
// KB; the rest of DigitalOcean's v1.json, with user data of 64 KB, fits, too.
const maxText = 256 << 10

var formats = map[string]func(*plan, []byte) error{
	NoCloud:      (*plan).networkConfig,
	Hetzner:      (*plan).networkConfig,
	OpenStack:    (*plan).networkData,
	DigitalOcean: (*plan).droplet,
}

// Convert returns network.yaml with what n says, or nothing if the node does that without
// a file: by DHCP and router advertisements. Each of skipped is a line about what is left
// out. After an error, the node has to do without n.
func Convert(n *want.Network) (file []byte, skipped []string, err error) {
	if n == nil {
		return nil, nil, nil
	}
	read, known := formats[n.Format]
	if !known {
		return nil, nil, fmt.Errorf("network data: the format %q is not known", n.Format)
	}
	p := &plan{entries: map[string]*entry{}, ids: map[string]string{}}
	if len(n.Text) > maxText {
		return nil, nil, fmt.Errorf("network data: more than %d bytes", maxText)
	}
	if err = read(p, n.Text); err == nil {
		file, err = p.finish()
	}
	if err != nil {
		return nil, p.skipped, fmt.Errorf("network data: %w", err)
	}
	return file, p.skipped, nil
}

func unmarshalYAML(data []byte, into any) error {
	if err := bounded.YAML(data, into); err != nil {
		return fmt.Errorf("read them: %w", err)
	}
	return nil
}

func unmarshalJSON(data []byte, into any) error {
	if err := bounded.JSON(data, into); err != nil {
		return fmt.Errorf("read them: %w", err)
	}
	return nil
}
