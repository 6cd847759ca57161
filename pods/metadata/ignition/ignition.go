// Package ignition takes the files out of an Ignition configuration: of version 3, and of
// version 2, which Cluster API still makes. What Ignition would do to disks, users and
// units is named, and not done.
//
// Of units there is one whose work a node does: kubeadm.service, by which Cluster API has
// a machine join its cluster.
package ignition

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/hostfile"
	"kios/pods/metadata/joincmd"
	"kios/pods/metadata/kubeadm"
	"kios/pods/metadata/want"
)

// Reader reads Ignition configurations.
type Reader struct {
	Join joincmd.Join // reads the file that kubeadm join --config names
}

// document is a configuration, as far as it is read. See the specifications of Ignition,
// versions 2.3 and 3.5.
type document struct {
	Ignition struct {
		Version string `json:"version"`
		Config  struct {
			Merge   []json.RawMessage `json:"merge"`
			Append  []json.RawMessage `json:"append"`
			Replace *struct {
				Source *string `json:"source"`
			} `json:"replace"`
		} `json:"config"`
	} `json:"ignition"`
	Storage struct {
		Files       []json.RawMessage `json:"files"`
		Directories []path            `json:"directories"`
		Links       []path            `json:"links"`
		Disks       []json.RawMessage `json:"disks"`
		Raid        []json.RawMessage `json:"raid"`
		Filesystems []json.RawMessage `json:"filesystems"`
		Luks        []json.RawMessage `json:"luks"`
	} `json:"storage"`
	Systemd struct {
		Units []unit `json:"units"`
	} `json:"systemd"`
	Networkd struct {
		Units []json.RawMessage `json:"units"`
	} `json:"networkd"`
	Passwd struct {
		Users  []json.RawMessage `json:"users"`
		Groups []json.RawMessage `json:"groups"`
	} `json:"passwd"`
	KernelArguments struct {
		ShouldExist    []string `json:"shouldExist"`
		ShouldNotExist []string `json:"shouldNotExist"`
	} `json:"kernelArguments"`
}

type path struct {
	Path string `json:"path"`
}

type unit struct {
	Name     string `json:"name"`
	Enabled  *bool  `json:"enabled"`
	Mask     bool   `json:"mask"`
	Contents string `json:"contents"`
}

// Read reads a configuration.
func (r Reader) Read(text []byte, m *want.Machine, n *want.Node) error {
	var d document
	if err := parse(text, &d); err != nil {
		return err
	}
	c := &config{document: &d, node: n, files: hostfile.New(n)}
	c.commands = &joincmd.Reader{Join: r.Join, Files: c.files, Machine: m, Node: n}
	err := errors.Join(c.readFiles(), c.readUnits())
	c.nameDirectories()
	c.commands.Done()
	c.files.Done()
	c.nameOthers()
	return err
}

func parse(text []byte, d *document) error {
	if err := bounded.JSON(text, d); err != nil {
		return err
	}
	if major, _, _ := strings.Cut(d.Ignition.Version, "."); major != "2" && major != "3" {
		return fmt.Errorf("its version is %.60q: versions 2 and 3 are read", d.Ignition.Version)
	}
	return nil
}

// config is one configuration that is being read.
type config struct {
	*document
	node     *want.Node
	files    *hostfile.List
	commands *joincmd.Reader
}

// kubeadmUnit is the unit of Cluster API.
const kubeadmUnit = "kubeadm.service"

// maxNamed bounds the names of units and directories in the log.
const maxNamed = 32

// readUnits does the work of the one unit that is known, and names the others.
func (c *config) readUnits() error {
	var mistakes bounded.Mistakes
	var others []string
	for _, u := range c.Systemd.Units {
		switch {
		case u.Enabled != nil && !*u.Enabled, u.Mask:
		case u.Name == kubeadmUnit:
			mistakes.Add(c.kubeadm(u))
		default:
			others = append(others, u.Name)
		}
	}
	c.nameAll("unit", others, "a node has no systemd; what a pod can do, a pod does")
	return mistakes.Err()
}

// kubeadm does what the unit starts: a script of the configuration, a text for a shell, or
// kubeadm itself. A line may go on after a backslash.
func (c *config) kubeadm(u unit) error {
	var mistakes bounded.Mistakes
	starts := false
	for line := range strings.Lines(unfold.Replace(u.Contents)) {
		if command, found := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); found {
			starts = true
			mistakes.Add(c.commands.Command(kubeadm.Words(strings.TrimLeft(command, "-@:+!|"))))
		}
	}
	if !starts {
		c.node.Skip("Ignition: unit %q: its contents have no ExecStart, and drop-ins are not read", u.Name)
	}
	return mistakes.Err()
}

var unfold = strings.NewReplacer("\\\n", " ", "\\\r\n", " ")

// nameDirectories names directories that would be empty: the others come with their files.
func (c *config) nameDirectories() {
	var empty, links []string
	for _, d := range c.Storage.Directories {
		if !c.files.Has(d.Path) {
			empty = append(empty, d.Path)
		}
	}
	for _, l := range c.Storage.Links {
		links = append(links, l.Path)
	}
	c.nameAll("directory", empty, "a node makes directories with the files in them")
	c.nameAll("link", links, "a node makes no links; write the file itself")
}

// nameOthers names the parts that are not read.
func (c *config) nameOthers() {
	for _, other := range []struct {
		name, reason string
		asked        int
	}{
		{"ignition.config", "a node gets nothing from elsewhere; send the whole configuration", c.elsewhere()},
		{"storage.disks", "pods bring their volumes", len(c.Storage.Disks)},
		{"storage.raid", "pods bring their volumes", len(c.Storage.Raid)},
		{"storage.filesystems", "pods bring their volumes", len(c.Storage.Filesystems)},
		{"storage.luks", "pods bring their volumes", len(c.Storage.Luks)},
		{"networkd", "write /etc/kios/network.yaml", len(c.Networkd.Units)},
		{"passwd", "a node has no users", len(c.Passwd.Users) + len(c.Passwd.Groups)},
		{"kernelArguments", "a node's kernel command line is in its image", len(c.KernelArguments.ShouldExist) + len(c.KernelArguments.ShouldNotExist)},
	} {
		if other.asked > 0 {
			c.node.Skip("Ignition: %s: %s", other.name, other.reason)
		}
	}
}

// elsewhere counts the configurations that this one asks for.
func (c *config) elsewhere() int {
	n := len(c.Ignition.Config.Merge) + len(c.Ignition.Config.Append)
	if r := c.Ignition.Config.Replace; r != nil && r.Source != nil {
		n++
	}
	return n
}

// nameAll has a line for each name, up to a bound.
func (c *config) nameAll(what string, names []string, reason string) {
	for i, name := range names {
		if i == maxNamed {
			c.node.Skip("Ignition: %d more of the kind %s", len(names)-i, what)
			return
		}
		c.node.Skip("Ignition: %s %.200q: %s", what, name, reason)
	}
}
