package place

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/internal/daemonenv"
	"kios/internal/identity"
	"kios/internal/instance"
	"kios/internal/kubeletargs"
	"kios/internal/userfile"
	"kios/pods/metadata/want"
)

// plan makes files of what is wanted.
type plan struct {
	root    string
	machine *want.Machine
	node    *want.Node
	cluster *want.Cluster
	record  instance.Record
	result  *Result

	list []file
	kept []string // that stay as they are
}

// add adds a file, in place of one of the same path.
func (p *plan) add(f file) {
	p.list = slices.DeleteFunc(p.list, func(other file) bool { return other.path == f.path })
	p.list = append(p.list, f)
}

func (p *plan) text(path, text string) {
	if text != "" {
		p.add(file{path: path, content: []byte(text), mode: 0o644})
	}
}

func (p *plan) secret(path, text string) {
	if text != "" {
		p.add(file{path: path, content: []byte(text), mode: 0o600})
	}
}

// files returns all files. Those that the user data name come last, and so take the place
// of others.
func (p *plan) files(more []want.File) []file {
	f := spread(p.node.Flags, p.result)
	p.hostname(f.hostname)
	p.text("/etc/kubernetes/node-labels", p.labels(f.labels))
	p.text("/etc/kubernetes/cloud-provider", lineOf(f.cloudProvider))
	p.text("/etc/kubernetes/node-ip", lineOf(f.nodeIP))
	p.text("/etc/kubernetes/kubelet-flags", lines(f.other))
	p.containerd()
	p.environment()
	p.resolver()
	p.metadata()
	p.defaults()
	for _, f := range more {
		p.add(file{path: f.Path, content: f.Content, mode: modeOf(f)})
	}
	p.join(f)
	for _, f := range p.node.Files {
		if !f.Default {
			p.named(f)
		}
	}
	return p.list
}

// defaults are files that nobody has named: any other one counts in place of them.
func (p *plan) defaults() {
	for _, f := range p.node.Files {
		if f.Default {
			p.add(file{path: f.Path, content: f.Content, mode: modeOf(f)})
		}
	}
}

func modeOf(f want.File) fs.FileMode {
	if f.Mode.Perm() == 0 {
		return 0o644
	}
	return f.Mode.Perm()
}

// named is for a file that the user data name.
func (p *plan) named(f want.File) {
	if f.Path == "/run/kios" || strings.HasPrefix(f.Path, "/run/kios/") {
		p.result.say("%.200s is left out: what is in /run/kios is the node's own", f.Path)
		return
	}
	content := f.Content
	if f.Append {
		content = slices.Concat(p.base(f.Path), content)
	}
	if len(content) > userfile.Max {
		p.result.say("%.200s is left out: it has more than %d bytes, and no more are read on a node", f.Path, userfile.Max)
		return
	}
	p.add(file{path: f.Path, content: content, mode: modeOf(f), named: true})
}

// base is what a file is appended to: what this plan has for it, or else what was there
// before the first time.
func (p *plan) base(path string) []byte {
	for _, f := range p.list {
		if f.path == path {
			return f.content
		}
	}
	if instance.Check(p.root, path) != nil {
		return nil // said when it is to be written
	}
	read := instance.Kept
	if _, ours := p.record.Files[path]; !ours {
		read = func(root, path string) ([]byte, error) {
			return userfile.ReadIfThere(filepath.Join(root, path), userfile.Max)
		}
	}
	text, err := read(p.root, path)
	if err != nil {
		p.result.say("%s is written as if it had not been there: %v", path, userfile.Reason(err))
	}
	return text
}

const hostnamePath = "/etc/hostname"

// hostname names the node, but not a node that its cluster knows by another name. A node of
// EKS has a kubeconfig from the start, whatever its name; EKS takes the one that EC2 tells.
func (p *plan) hostname(override string) {
	name, source := p.node.Hostname, "user data"
	if name == "" {
		name = override
	}
	if name == "" {
		name, source = p.machine.Hostname, "metadata"
	}
	if name == "" {
		return
	}
	good, err := identity.ParseHostname(name)
	if err != nil {
		p.result.say("the name %.100q of the %s is not used: %v", name, source, err)
		return
	}
	if is := p.name(); p.node.EKS == nil && (kubeletargs.Files{Root: p.root}).Known() && is != "" && is != good {
		p.result.say("the node is known to its cluster as %s, and keeps that name; the %s call it %s", is, source, good)
		p.kept = append(p.kept, hostnamePath)
		return
	}
	p.text(hostnamePath, good+"\n")
}

// name is the node's name now, by the file, or else by the kernel.
func (p *plan) name() string {
	text, _ := userfile.ReadIfThere(filepath.Join(p.root, hostnamePath), userfile.Max)
	if name, err := identity.ParseHostname(string(text)); err == nil {
		return name
	}
	// A pod in the node's network has the node's name, too.
	running, _ := os.Hostname()
	name, _ := identity.ParseHostname(running)
	return name
}

// lineOf is a file of one line, or none.
func lineOf(text string) string {
	if text == "" {
		return ""
	}
	return text + "\n"
}

func lines(list []string) string { return lineOf(strings.Join(list, "\n")) }

const containerdPath = "/etc/containerd/config.toml"

// containerd reads its main file, and then what that imports over it, by name.
func (p *plan) containerd() {
	list := p.node.Containerd
	if len(list) == 1 {
		p.secret(containerdPath, list[0]) // it may have keys of registries
		return
	}
	for i, text := range list {
		p.secret(fmt.Sprintf("/etc/containerd/metadata.d/%03d.toml", i), text)
	}
	if len(list) > 0 {
		p.secret(containerdPath, "version = 3\nimports = [\"/etc/containerd/metadata.d/*.toml\"]\n")
	}
}

// environment has each value in quotes on one line, which is how PID 1 reads it: an encoder of
// YAML would fold a long list such as NO_PROXY.
func (p *plan) environment() {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.node.Environment)) {
		if strings.ContainsAny(name, ": \t\r\n") {
			p.result.say("the variable %.100q is left out: that is no name", name)
			continue
		}
		fmt.Fprintf(&text, "  %s: %q\n", name, p.node.Environment[name])
	}
	if text.Len() > 0 {
		// A proxy's URL may have a password in it.
		p.secret("/etc/"+daemonenv.File, "environment:\n"+text.String())
	}
}

// yaml is a document of what always can be one.
func (p *plan) yaml(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		p.result.say("%.200v", err)
	}
	return string(text)
}

// resolver replaces the link to what DHCP says.
func (p *plan) resolver() {
	var text strings.Builder
	if len(p.node.Nameservers) == 0 {
		return
	}
	if search := slices.DeleteFunc(slices.Clone(p.node.Search), func(s string) bool { return strings.ContainsAny(s, " \t\r\n") || s == "" }); len(search) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(search, " "))
	}
	for _, address := range slices.CompactFunc(p.node.Nameservers, func(a, b netip.Addr) bool { return a == b }) {
		fmt.Fprintf(&text, "nameserver %s\n", address)
	}
	p.add(file{path: "/etc/resolv.conf", content: []byte(text.String()), mode: 0o644, system: p.linked()})
}

// linked reports whether resolv.conf is still the system's, which leads to what DHCP says.
func (p *plan) linked() bool {
	target, err := os.Readlink(filepath.Join(p.root, "etc/resolv.conf"))
	return err == nil && strings.HasSuffix(target, "/run/kios/network/resolv.conf")
}

const metadataPath = "/run/kios/metadata.json"

// metadata is for other pods.
func (p *plan) metadata() {
	text, err := json.MarshalIndent(p.machine, "", "  ")
	if err != nil {
		p.result.say("%v", err)
		return
	}
	p.add(file{path: metadataPath, content: append(text, '\n'), mode: 0o644, system: true})
}

// labels are those that the controller of a cloud gives a node, and the user's over them.
func (p *plan) labels(ofFlags map[string]string) string {
	m := p.machine
	all := map[string]string{
		"topology.kubernetes.io/zone":      m.Zone,
		"topology.kubernetes.io/region":    m.Region,
		"node.kubernetes.io/instance-type": m.Type,
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	maps.Copy(all, ofFlags)
	maps.Copy(all, p.node.Labels)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if err := kubeletargs.CheckLabel(key, all[key]); err != nil {
			p.result.say("a label is left out: %v", err)
			continue
		}
		fmt.Fprintf(&text, "%s: %s\n", key, all[key])
	}
	return text.String()
}
