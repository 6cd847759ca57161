package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kios/internal/userfile"
	"kios/internal/wholefile"
	"kios/pods/network/dhcp"
	"kios/pods/network/dhcp6"
	"kios/pods/network/ndisc"
)

// store keeps what a restart must not forget, one file for each interface, in a
// directory that lives as long as the machine is up: a lease's instants count
// from boot.
type store struct {
	dir string
	mu  sync.Mutex
}

// record is what is kept of an interface. It counts for the card with the same
// address only.
type record struct {
	HardwareAddr string
	Lease        *dhcp.Lease  `json:",omitempty"`
	Lease6       *dhcp6.Lease `json:",omitempty"`
	Routers      *ndisc.Event `json:",omitempty"`
	MTU          int          `json:",omitempty"` // before the one of the file was set
}

func (s *store) path(name string) string { return filepath.Join(s.dir, name+".json") }

// knows reports whether there is a record of the interface.
func (s *store) knows(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// load returns the valid parts of an interface's record. After an error that is
// an empty record, which can be used.
func (s *store) load(name string, mac net.HardwareAddr, now time.Duration) (record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(name, mac, now)
}

func (s *store) read(name string, mac net.HardwareAddr, now time.Duration) (record, error) {
	empty := record{HardwareAddr: mac.String()}
	content, err := userfile.Read(s.path(name), userfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return empty, fmt.Errorf("read %s: %w", s.path(name), err)
	}
	if l := r.Lease; l != nil && (!l.Address.IsValid() || !l.Server.IsValid()) {
		return empty, fmt.Errorf("read %s: it holds a lease without an address or a server", s.path(name))
	}
	if r.HardwareAddr != mac.String() {
		return empty, nil
	}
	if r.Lease != nil && r.Lease.Expiry <= now {
		r.Lease = nil
	}
	if r.Lease6 != nil && r.Lease6.Expiry <= now {
		r.Lease6 = nil
	}
	return r, nil
}

// update changes the record of an interface. The file is replaced whole, so
// that a restart in the middle finds the one before.
func (s *store) update(name string, mac net.HardwareAddr, change func(*record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _ := s.read(name, mac, 0) // what cannot be read is written anew
	change(&r)
	content, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return replace(s.path(name), append(content, '\n'))
}

func (s *store) forget(name string) error { return remove(s.path(name)) }

// replace writes a file whole, and its directory if need be.
func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Volatile(path, content, 0o644)
}

// remove removes a file that may be absent.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
