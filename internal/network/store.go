package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"kios/internal/dhcp"
)

// store keeps the leases in use, one file for each interface, in a directory
// that lives as long as the machine is up: a lease's instants count from boot.
type store string

type record struct {
	HardwareAddr string
	Lease        *dhcp.Lease
}

func (s store) path(name string) string { return filepath.Join(string(s), name+".json") }

// load returns the lease of an interface, nil if there is none that is valid.
func (s store) load(name string, mac net.HardwareAddr, now time.Duration) (*dhcp.Lease, error) {
	content, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path(name), err)
	}
	if r.Lease == nil || !r.Lease.Address.IsValid() || !r.Lease.Server.IsValid() {
		return nil, fmt.Errorf("read %s: it holds no lease", s.path(name))
	}
	if r.HardwareAddr != mac.String() || r.Lease.Expiry <= now {
		return nil, nil
	}
	return r.Lease, nil
}

// save keeps a lease. The file is replaced whole, so that a restart in the
// middle finds the one before.
func (s store) save(name string, mac net.HardwareAddr, l *dhcp.Lease) error {
	content, err := json.MarshalIndent(record{mac.String(), l}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(s), 0o755); err != nil {
		return err
	}
	tmp := s.path(name) + ".new"
	if err := os.WriteFile(tmp, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, s.path(name))
}

func (s store) forget(name string) error {
	err := os.Remove(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
