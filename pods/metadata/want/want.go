// Package want is what the pod metadata learns, and nothing of where from: of the machine,
// and of the node that its user data ask for. Handlers of user data fill in a Node, and
// package place makes files of it.
package want

import (
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"reflect"
)

// Machine is what a cloud, a disk or the firmware says of the machine.
type Machine struct {
	Provider string `json:"provider"`             // name of the row of package provider
	ID       string `json:"instanceID,omitempty"` // changes when the disk is put into another machine
	// WeakID says that the ID is what firmware or somebody with a disk says: it may change
	// on a machine that is the same by firmware's UUID.
	WeakID     bool         `json:"-"`
	ProviderID string       `json:"providerID,omitempty"` // as the cloud's controller writes it into the Node
	Hostname   string       `json:"hostname,omitempty"`
	Region     string       `json:"region,omitempty"`
	Zone       string       `json:"zone,omitempty"`
	Type       string       `json:"instanceType,omitempty"`
	Addresses  []netip.Addr `json:"addresses,omitempty"` // inside the cloud, the first of each family is the node's

	// Had names what its source had, of all that need not be there. Where that is not there
	// another time, it is asked for again before it counts as gone.
	Had []string `json:"-"`
	// Gone says that the user data were on a disc that the cloud has taken away since: what
	// they asked for stays.
	Gone bool `json:"-"`

	UserData []byte   `json:"-"` // as it came: packed, in parts, or nothing
	Network  *Network `json:"-"` // nil if DHCP says all
	// Node is what the firmware's variables ask for, which are no user data; nil if there
	// are none. What user data ask for is added to it.
	Node  *Node             `json:"-"`
	Jinja map[string]string `json:"-"` // what templates may ask for, such as ds.meta_data.local_hostname
}

// Network is a description of the machine's network in one of the formats of package netdata.
type Network struct {
	Format string // of package netdata
	Text   []byte
}

// Node is what user data ask of a node.
type Node struct {
	Hostname    string            // "" for the machine's
	Files       []File            // in the order in which they are asked for
	Labels      map[string]string // of the Node
	Kubelet     map[string]any    // fields of KubeletConfiguration
	Flags       []string          // of the kubelet, each as --name=value
	Containerd  []string          // TOML, the later ones over the earlier ones
	Environment map[string]string // of containerd and the kubelet
	Nameservers []netip.Addr
	Search      []string
	Join        *Join // nil for a node without a cluster, or one that Files make a member
	EKS         *EKS
	Joined      string // path of a file that is written when the node is in its cluster, "" for none
	// DataDisks asks for the disks that belong to the machine and end with it, as the
	// data partition: "", "one" or "striped".
	DataDisks string
	// Partial is set if not all could be read of what is asked for: what was asked for
	// before stays.
	Partial bool
	// Unread is set if nothing at all could be read of it: files that are there stay as they
	// are, since this says nothing of what they are to be.
	Unread bool
	// Skipped has a sentence for each thing that is asked for and not done.
	Skipped []string
}

// File is a file of the node, below /etc or /run.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode // 0 for 0644
	Append  bool
	// Default is a file that nobody has asked for by its name: one that the user has put
	// there, or that another File names, counts in place of it.
	Default bool
}

// Join is a kubeconfig that kubelets use as it is, or the makings of one.
type Join struct {
	Server    string // https://HOST:PORT
	CA        []byte // PEM; nil to ask the server, if Hashes say which one to trust
	Hashes    []string
	Insecure  bool   // there are no Hashes on purpose: the token's signature tells the cluster
	Token     string // for TLS bootstrap
	Discovery string // the token that signs what the cluster is, "" for Token
	TokenFile string // in place of Token: a file that the pod keeps fresh
	// Kubeconfig, if not nil, says all of this.
	Kubeconfig []byte
	// ClusterConfig has the pod ask the server for the cluster's kubelet-config, as kubeadm
	// does.
	ClusterConfig bool
}

// Cluster is what an API server says of itself, where a Join leaves that to it.
type Cluster struct {
	Server  string
	CA      []byte         // PEM
	Kubelet map[string]any // fields of KubeletConfiguration, below those of the Node
}

// Asks reports whether the server has to be asked before a node can join.
func (j *Join) Asks() bool { return j.Kubeconfig == nil && j.CA == nil || j.ClusterConfig }

// EKS is what an EKS node needs beside Join.
type EKS struct {
	Cluster string // name, or the id of one on Outposts: whom the token is for
	// InstanceIDName names the node for its instance id.
	InstanceIDName bool
}

// IsEmpty reports whether nothing is asked of the node.
func (n *Node) IsEmpty() bool {
	asked := *n
	asked.Partial, asked.Unread, asked.Skipped = false, false, nil
	return reflect.DeepEqual(asked, Node{})
}

// Overlay returns the fields of both, and of a field that both have, that of over. Of maps,
// the fields are laid over one another in the same way.
func Overlay(under, over map[string]any) map[string]any {
	all := maps.Clone(under)
	if all == nil {
		all = map[string]any{}
	}
	for name, value := range over {
		a, wasMap := all[name].(map[string]any)
		b, isMap := value.(map[string]any)
		if wasMap && isMap {
			value = Overlay(a, b)
		}
		all[name] = value
	}
	return all
}

// maxSkipped is more than a person reads. A text of 1 MiB can ask for tens of thousands of
// things that are not done.
const maxSkipped = 256

// Skip notes what is asked for and not done.
func (n *Node) Skip(format string, args ...any) {
	n.Skipped = Note(n.Skipped, maxSkipped, "there is more that is not named here", format, args...)
}

// Note adds a line to a list for the log. Once that is as long as may be, more is added, and
// nothing after it.
func Note(lines []string, most int, more, format string, args ...any) []string {
	switch {
	case len(lines) < most:
		return append(lines, fmt.Sprintf(format, args...))
	case len(lines) == most:
		return append(lines, more)
	}
	return lines
}
