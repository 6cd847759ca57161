package importer

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"kios/internal/wholefile"
)

// notes remember what archives are, so that those whose names are only known after they
// were read to the end are read once, and not at every boot.
type notes struct {
	path string // of the file; "" to remember nothing
	old  map[string]note
	new  map[string]note
}

// note is what is known of an archive that was read.
type note struct {
	File  fileID        `json:"file"`
	ID    digest.Digest `json:"id"`
	Names []string      `json:"names"` // none if the import failed: there may be others
}

// fileID changes whenever a file does.
type fileID struct {
	Inode   uint64 `json:"inode"`
	Size    int64  `json:"size"`
	Changed int64  `json:"changed"` // nanoseconds
}

// maxNotes bounds the file, which is of our own making and may be spoilt all the same.
const maxNotes = 16 << 20

func readNotes(path string) *notes {
	n := &notes{path: path, old: map[string]note{}, new: map[string]note{}}
	f, err := os.Open(path)
	if err != nil {
		return n
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxNotes)).Decode(&n.old); err != nil || n.old == nil {
		n.old = map[string]note{}
	}
	return n
}

// identifyFile is about what an open file has, whatever is at its path by now.
func identifyFile(f *os.File) (fileID, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return fileID{st.Ino, st.Size, st.Ctim.Nano()}, err
}

// recall completes what is known of an archive.
func (n *notes) recall(a *archive) {
	if old, ok := n.old[a.path]; ok && a.file == old.File && a.id == "" {
		a.id, a.names = old.ID, old.Names
	}
}

// keep remembers an archive that was read, and its names if they are all it brings.
func (n *notes) keep(a *archive, names []string) {
	n.new[a.path] = note{a.file, a.id, names}
}

// keepOld remembers what was known of an archive that cannot be read now.
func (n *notes) keepOld(path string) {
	if old, ok := n.old[path]; ok {
		n.new[path] = old
	}
}

// keepAllIn is keepOld for all archives of a directory that cannot be listed.
func (n *notes) keepAllIn(dir string) {
	for path := range n.old {
		if filepath.Dir(path) == filepath.Clean(dir) {
			n.keepOld(path)
		}
	}
}

// ids are those of all archives that are known to be there.
func (n *notes) ids() []digest.Digest {
	var ids []digest.Digest
	for _, note := range n.new {
		ids = append(ids, note.ID)
	}
	return ids
}

// write replaces the file if anything changed. It may be lost: then archives are read again.
func (n *notes) write() error {
	if n.path == "" || n.isSame() {
		return nil
	}
	text, err := json.Marshal(n.new)
	if err != nil {
		return err
	}
	return wholefile.Volatile(n.path, text, 0o600)
}

func (n *notes) isSame() bool {
	if len(n.old) != len(n.new) {
		return false
	}
	for path, a := range n.new {
		if b := n.old[path]; a.File != b.File || a.ID != b.ID || !slices.Equal(a.Names, b.Names) {
			return false
		}
	}
	return true
}
