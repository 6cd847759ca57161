// Package resolvconf writes /etc/resolv.conf (resolv.conf(5)) from what several
// network interfaces learned, and leaves alone a file that somebody else wrote.
//
// Each server must answer every name: there is no routing of names to the
// servers of one interface.
package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Marker is the first line of a file that this package may replace. The file
// that the OS ships starts with it, too: the kubelet starts no pod while there
// is no resolv.conf at all.
const Marker = "# Written by kiOS from DHCP. Without this line, the file is yours and stays as it is."

// ErrForeign says that the file is the user's.
var ErrForeign = errors.New("it does not start with the line that marks it as ours")

const (
	maxServers = 3  // what the C library and the kubelet read
	maxSearch  = 32 // what the kubelet hands on to pods
)

// Source is what one interface learned.
type Source struct {
	Servers []netip.Addr
	Search  []string
}

// Render returns the file for the sources, earlier ones first.
func Render(sources []Source) []byte {
	var servers, search []string
	for _, s := range sources {
		for _, a := range s.Servers {
			servers = appendNew(servers, a.String(), maxServers)
		}
		for _, d := range s.Search {
			search = appendNew(search, strings.ToLower(d), maxSearch)
		}
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, Marker)
	if len(search) > 0 {
		fmt.Fprintln(&b, "search", strings.Join(search, " "))
	}
	for _, s := range servers {
		fmt.Fprintln(&b, "nameserver", s)
	}
	return b.Bytes()
}

func appendNew(list []string, s string, limit int) []string {
	if len(list) >= limit {
		return list
	}
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// Write makes content the file at path, if it is absent or ours, and otherwise
// returns an error that wraps ErrForeign. Readers see the old file or the new
// one: it is replaced by a rename, so path must not itself be a mount point.
func Write(path string, content []byte) error {
	old, err := ours(path)
	if err != nil {
		return err
	}
	if bytes.Equal(old, content) {
		return nil
	}
	return replace(path, content)
}

// ours returns the content of a file that may be replaced, nil if there is none.
func ours(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is left as it is: %w", path, ErrForeign)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if line, _, _ := bytes.Cut(content, []byte("\n")); string(line) != Marker {
		return nil, fmt.Errorf("%s is left as it is: %w", path, ErrForeign)
	}
	return content, nil
}

func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".resolv.conf-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(content)
	// Synced, or a power cut could leave an empty file under the final name.
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return os.Rename(f.Name(), path)
}
