package place

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/identity"
	"kios/internal/instance"
	"kios/pods/metadata/want"
)

// Result is what Apply has done.
type Result struct {
	// Reset is set if the disk was in another machine: all that was of that one is gone,
	// and a kubelet that runs has to start again.
	Reset   bool
	Written []string // paths, in that order
	Removed []string
	Lines   []string // for the log: what is not done, and why
}

// maxLines is more than a person reads. User data may have a hundred thousand labels.
const maxLines = 256

// say adds a line.
func (r *Result) say(format string, args ...any) {
	r.Lines = want.Note(r.Lines, maxLines, "there is more that is not named here", format, args...)
}

// Apply makes the files below root such as the machine and the user data want them, and
// touches none that are so already. More files are those of other packages, such as
// network.yaml; each call has to give all of them. Where c is nil, and n.Join leaves
// something to the API server, the files of the cluster stay as they are. With an error,
// the kubeconfig is not written; what is in the Result has been done all the same.
func Apply(root string, m *want.Machine, n *want.Node, c *want.Cluster, more ...want.File) (Result, error) {
	a := &application{root: root}
	if err := a.load(m); err != nil {
		return a.result, err
	}
	p := &plan{root: root, machine: m, node: n, cluster: c, record: a.record, result: &a.result}
	files := p.files(more)
	if m.Gone {
		a.result.say("the disc with the user data is not there any more: what they asked for stays as it is")
	}
	unknown := m.Gone || n.Unread
	if unknown {
		files = slices.DeleteFunc(files, a.isThere)
	}
	if !n.Partial && !unknown {
		a.remove(files, p.kept)
	}
	a.write(files)
	switch {
	case n.Join == nil && (n.Partial || unknown): // nobody knows
	case n.Join == nil:
		a.record.Asked = ""
	case p.joins() && len(a.errs) == 0:
		a.record.Asked = asked(n)
	}
	return a.result, a.end()
}

// IsOther reports whether the record below root is of another machine: then Apply starts
// afresh, and so has everybody else who keeps something of that one.
func IsOther(root string, m *want.Machine) bool {
	r, err := instance.Load(root)
	return err == nil && isOther(r, m, root)
}

// isThere finds a file that this pod has written for this machine, of whatever user data.
func (a *application) isThere(f file) bool {
	_, ours := a.record.Files[f.path]
	return ours && f.path != metadataPath && a.look(f.path).there
}

// Settled reports whether the files of the cluster are those of this node already: there
// is nothing to ask the API server for, which would not know an old token any more.
func Settled(root string, m *want.Machine, n *want.Node) bool {
	r, err := instance.Load(root)
	if err != nil || n.Join == nil || isOther(r, m, root) || r.Asked == "" || r.Asked != asked(n) {
		return false
	}
	return slices.ContainsFunc(kubeconfigs, func(path string) bool {
		_, ours := r.Files[path]
		_, err := os.Lstat(filepath.Join(root, path))
		return ours && err == nil
	})
}

// asked is a hash of what the files of a cluster are made of.
func asked(n *want.Node) string {
	text, err := json.Marshal(struct {
		Join    *want.Join
		Kubelet map[string]any
	}{n.Join, n.Kubelet})
	if err != nil {
		return "" // never settled
	}
	return hash(text)
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// isOther reports whether the record is of another machine. What the cloud calls a machine
// decides, where that is known, and otherwise firmware's UUID, as in PID 1.
func isOther(r instance.Record, m *want.Machine, root string) bool {
	before, now := strings.ToLower(r.UUID), instance.UUID(root)
	known, same := identity.Unique(before) && identity.Unique(now), identity.SameUUID(before, now)
	if oneGiver(r, m) && !(m.WeakID && known && same) {
		return r.Machine != idOf(m)
	}
	return known && !same
}

// oneGiver reports whether the machine's name and the one in the record are of one giver.
func oneGiver(r instance.Record, m *want.Machine) bool {
	return r.Machine != "" && m.ID != "" && (r.Provider == "" || r.Provider == m.Provider)
}

// idOf returns the name of the machine as JSON keeps it.
func idOf(m *want.Machine) string { return strings.ToValidUTF8(m.ID, "?") }

// application is one run of Apply.
type application struct {
	root   string
	record instance.Record
	before instance.Record // as it is on the disk
	result Result
	errs   []error
}

// load reads the record, and starts afresh in another machine.
func (a *application) load(m *want.Machine) error {
	r, err := instance.Load(a.root)
	if err != nil {
		// Without it, all files are taken for the user's, and none is lost.
		a.result.say("%v: the files that are there are left alone", err)
	}
	if isOther(r, m, a.root) {
		if err := r.Reset(a.root); err != nil {
			return err
		}
		a.result.Reset = true
		a.result.say("this disk was in another machine (%.100s): the node starts afresh", r.Machine)
		r = instance.Record{}
	}
	a.before, a.record = r, r
	a.record.Files = maps.Clone(r.Files)
	if a.record.Files == nil {
		a.record.Files = map[string]string{}
	}
	if m.ID != "" {
		a.record.Machine, a.record.Provider = idOf(m), m.Provider
	}
	a.record.Had = m.Had
	if uuid := instance.UUID(a.root); uuid != "" {
		a.record.UUID = uuid
	}
	return nil
}

// save writes the record, if it is another one than that on the disk.
func (a *application) save() error {
	if a.before.Machine == a.record.Machine && a.before.Provider == a.record.Provider && a.before.UUID == a.record.UUID && a.before.Asked == a.record.Asked &&
		slices.Equal(a.before.Had, a.record.Had) && maps.Equal(a.before.Files, a.record.Files) {
		return nil
	}
	if err := a.record.Save(a.root); err != nil {
		return err
	}
	a.before = a.record
	a.before.Files = maps.Clone(a.record.Files)
	return nil
}
