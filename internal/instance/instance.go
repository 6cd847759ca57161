// Package instance is the record of which machine the files of a node are for. The pod
// metadata keeps it on the data partition. If the disk, or a copy of it, is in another
// machine, that one starts afresh: PID 1 finds out by the UUID of the firmware, before the
// kubelet starts, and the pod by what the cloud calls the machine.
package instance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// File is where the record is.
const File = "/var/lib/kios/metadata/state.json"

// Beside the record are the files of others that the pod has written over.
const before = "/var/lib/kios/metadata/before"

// What a kubelet keeps for itself.
const (
	pki        = "/var/lib/kubelet/pki"
	kubeconfig = "/etc/kubernetes/kubelet.conf"
)

// What the kernel takes, less what wholefile adds to a name.
const (
	maxPath = 4000
	maxName = 240
)

// maxRecord is some 20,000 files, in bytes.
const maxRecord = 4 << 20

// Record is what the pod remembers.
type Record struct {
	Machine string `json:"instanceID"` // what the cloud calls it
	// Provider is whose name Machine is, "" in records of earlier versions.
	Provider string `json:"provider,omitempty"`
	UUID     string `json:"productUUID"` // what the firmware calls it, as DMI has it
	// Files are those that the pod has written, with the SHA-256 of their content. That is
	// "" for one that is being written: it may have any content, and is the pod's.
	Files map[string]string `json:"files"`
	// Had names what the metadata had when they were read last.
	Had []string `json:"had,omitempty"`
	// Asked is a hash of what the files of a cluster were made of.
	Asked string `json:"asked,omitempty"`
}

// UUID returns what the firmware calls this machine, in lower case, "" if it does not say.
func UUID(root string) string {
	// A file of sysfs, which userfile refuses to read.
	text, err := os.ReadFile(filepath.Join(root, "sys/class/dmi/id/product_uuid"))
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(string(text)))
}

// Load reads the record below root. It is empty if there is none.
func Load(root string) (Record, error) {
	text, err := userfile.Read(filepath.Join(root, File), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("read %s: %w", File, err)
	}
	return r, nil
}

// Save writes the record below root.
func (r Record) Save(root string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(root, File)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return wholefile.Durable(path, append(text, '\n'), 0o600)
}

// Reset takes away what the node is by the record: its keys and certificates, the
// kubeconfig that the kubelet made of these, the files, and at last the record itself.
// What the pod had written over comes back. Where that fails in part, the rest is done,
// and the record stays, so that it can be done again.
func (r Record) Reset(root string) error {
	errs := []error{forgetKubelet(root)}
	for path := range r.Files {
		errs = append(errs, Restore(root, path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("start afresh: %w", err)
	}
	// Only without the record: with it, this would be done again, and remove what is back.
	if err := remove(filepath.Join(root, File)); err != nil {
		return fmt.Errorf("start afresh: %w", err)
	}
	return os.RemoveAll(filepath.Join(root, before))
}

// forgetKubelet removes keys and certificates of the kubelet. The directory stays: it may
// be mounted by itself.
func forgetKubelet(root string) error {
	path := filepath.Join(root, kubeconfig)
	text, err := userfile.Read(path, userfile.Max)
	if err == nil && bytes.Contains(text, []byte(pki+"/")) {
		if err := wholefile.Remove(path); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, pki))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(root, pki, e.Name())))
	}
	return errors.Join(errs...)
}

// Restore removes a file that the pod has written below root, or puts back what it was
// written over.
func Restore(root, path string) error {
	if err := Check(root, path); err != nil {
		return err
	}
	kept, target := filepath.Join(root, before, path), filepath.Join(root, path)
	info, err := os.Lstat(target)
	if err == nil && info.IsDir() {
		return nil // somebody's
	}
	if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
		return remove(target)
	}
	return copyTo(kept, target)
}

// Forget removes what Keep has kept, once the record does not have the path any more.
func Forget(root, path string) error { return remove(filepath.Join(root, before, path)) }

// remove removes a file whose directory may be gone, too.
func remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wholefile.Remove(path)
}

// Keep keeps what is at path below root, for Restore. It may be a file or a link; nothing
// at all is kept as nothing.
func Keep(root, path string) error {
	kept, source := filepath.Join(root, before, path), filepath.Join(root, path)
	if _, err := os.Lstat(source); errors.Is(err, fs.ErrNotExist) {
		return remove(kept)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return err
	}
	return copyTo(source, kept)
}

// Kept returns the content that path had below root before the pod wrote over it, nil for
// none.
func Kept(root, path string) ([]byte, error) {
	text, err := userfile.Read(filepath.Join(root, before, path), userfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// copyTo copies a file, or a link as such.
func copyTo(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return copyLink(from, to)
	}
	text, err := userfile.Read(from, userfile.Max)
	if err != nil {
		return err
	}
	return wholefile.Durable(to, text, info.Mode().Perm())
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	if err := remove(to); err != nil {
		return err
	}
	return os.Symlink(target, to)
}

// Check tells whether the pod may write a file of that path below root: it is in /etc or
// /run, and no directory on the way to it is a link that leads elsewhere.
func Check(root, path string) error {
	if path != filepath.Clean(path) || !strings.HasPrefix(path, "/etc/") && !strings.HasPrefix(path, "/run/") {
		return fmt.Errorf("%.200q is not a file below /etc or /run", path)
	}
	parts := strings.Split(path, "/")
	if len(path) > maxPath || len(parts[len(parts)-1]) > maxName {
		return fmt.Errorf("%.200q... is too long for a path", path)
	}
	for i := range slices.Backward(parts[:len(parts)-1]) {
		dir := strings.Join(parts[:i+1], "/")
		info, err := os.Lstat(filepath.Join(root, dir))
		if i > 0 && (err == nil && !info.IsDir() || err != nil && !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("%.200s is not in a directory: %.200s is something else, or a link", path, dir)
		}
	}
	return nil
}
