package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"kios/init/mount"
	"kios/init/nodecert"
	"kios/internal/identity"
	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// facts are by what others know the node.
type facts struct {
	machineID string
	hostname  string
	pair      nodecert.Pair // that the kubelet serves with
}

// self keeps the facts. The boot sets them, and the kubelet's goroutine does when it
// starts the kubelet again.
type self struct {
	mu    sync.Mutex
	facts facts
}

func (s *self) get() facts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts
}

func (s *self) update(set func(*facts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.facts)
}

func (n *Node) setMachineID() error {
	const file = "/etc/machine-id"
	var id string
	text, err := readIfThere(file)
	if err == nil {
		id, err = identity.ParseMachineID(text)
	}
	if err == nil {
		n.self.update(func(f *facts) { f.machineID = id })
		return nil
	}
	uuid, _ := os.ReadFile("/sys/class/dmi/id/product_uuid")
	id = identity.NewMachineID(string(uuid))
	n.self.update(func(f *facts) { f.machineID = id })
	if !errors.Is(err, identity.ErrEmpty) {
		// The user's file stays as it is; what readers see is ours.
		n.once.Error("%v; this boot uses %s", identity.NotUsed(file, err), id)
		return cover("machine-id", id+"\n")
	}
	return n.writeEtc("machine-id", id+"\n", 0o444, wholefile.Durable)
}

func readIfThere(file string) (string, error) {
	text, err := userfile.Read(file, userfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (n *Node) writeHosts() error {
	text, err := readIfThere("/etc/hosts")
	if err != nil {
		// The node needs its name in there, or it waits for a DNS server to tell it.
		n.once.Error("/etc/hosts is not used: %v", err)
		return cover("hosts", identity.Hosts("", n.self.get().hostname))
	}
	// Each boot makes it anew, so a power cut may leave it as it likes.
	return n.writeEtc("hosts", identity.Hosts(text, n.self.get().hostname), 0o644, wholefile.Volatile)
}

// writeEtc writes a file of /etc with write, if it changes. If that is not possible,
// because the data partition is full or broken, the file is kept in memory and mounted
// over the one in /etc.
func (n *Node) writeEtc(name, text string, mode fs.FileMode, write func(string, []byte, fs.FileMode) error) error {
	file := filepath.Join("/etc", name)
	if now, err := userfile.Read(file, userfile.Max); err == nil && string(now) == text {
		return nil
	}
	err := write(file, []byte(text), mode)
	if err == nil {
		return nil
	}
	n.Log.Warn("%s is kept in memory for this boot: %v", file, err)
	return cover(name, text)
}

// cover mounts a file in memory over one in /etc.
func cover(name, text string) error {
	const dir = "/run/kios/etc"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	source, target := filepath.Join(dir, name), filepath.Join("/etc", name)
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		return err
	}
	// Nothing that is there is opened: it may be anything.
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if err := wholefile.Volatile(target, nil, 0o644); err != nil {
			return err
		}
	}
	return mount.Row{Source: source, Target: target, Flags: mount.Strict}.Mount()
}
