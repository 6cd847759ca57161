package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/init/mount"
	"kios/init/nodecert"
	"kios/internal/identity"
	"kios/internal/kubeletargs"

	"golang.org/x/sys/unix"
)

func (n *Node) setMachineID() error {
	const file = "/etc/machine-id"
	text, err := readIfThere(file)
	if err != nil {
		return err
	}
	id, err := identity.ParseMachineID(text)
	if err == nil {
		n.machineID = id
		return nil
	}
	uuid, _ := os.ReadFile("/sys/class/dmi/id/product_uuid")
	n.machineID = identity.NewMachineID(string(uuid))
	if !errors.Is(err, identity.ErrEmpty) {
		// The user's file stays as it is; what readers see is ours.
		n.complain("%s is not used: %v; this boot uses %s", file, err, n.machineID)
		return cover("machine-id", n.machineID+"\n")
	}
	return n.writeEtc("machine-id", n.machineID+"\n", 0o444)
}

func readIfThere(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (n *Node) setHostname() error {
	text, file, err := hostnameText()
	if err != nil {
		n.complain("%s is not used: %v", file, err)
	}
	name, err := identity.ParseHostname(text)
	if err != nil {
		name = identity.Hostname(n.machineID)
	}
	if err != nil && !errors.Is(err, identity.ErrEmpty) {
		n.complain("%s is not used: %v; the node is called %s", file, err, name)
	}
	n.mu.Lock()
	n.hostname = name
	n.mu.Unlock()
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set the host name %s: %w", name, err)
	}
	return nil
}

func (n *Node) writeHosts() error {
	text, err := readIfThere("/etc/hosts")
	if err != nil {
		return err
	}
	return n.writeEtc("hosts", identity.Hosts(text, n.hostname), 0o644)
}

// writeEtc writes a file of /etc, in one rename, if it changes. If that is not
// possible, because the data partition is full or broken, the file is kept in
// memory and put on top.
func (n *Node) writeEtc(name, text string, mode fs.FileMode) error {
	file := filepath.Join("/etc", name)
	if now, err := os.ReadFile(file); err == nil && string(now) == text {
		return nil
	}
	err := replaceFile(file, text, mode)
	if err == nil {
		return nil
	}
	n.Log.Warn("%s is kept in memory for this boot: %v", file, err)
	return cover(name, text)
}

func replaceFile(file, text string, mode fs.FileMode) error {
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".kios")
	err := os.WriteFile(tmp, []byte(text), mode)
	if err == nil {
		err = os.Chmod(tmp, mode)
	}
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// cover puts a file in memory on top of one in /etc.
func cover(name, text string) error {
	const dir = "/run/kios/etc"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	source, target := filepath.Join(dir, name), filepath.Join("/etc", name)
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		return err
	}
	if f, err := os.OpenFile(target, os.O_CREATE, 0o644); err == nil {
		f.Close()
	}
	return mount.Row{Source: source, Target: target, Flags: mount.Strict}.Mount()
}

const pki = "/var/lib/kubelet/pki"

// ensureCertificate makes the kubelet's serving certificate unless there is a
// sound one.
func (n *Node) ensureCertificate() error {
	n.pair = pairIn(pki)
	names := append([]string{n.hostname, "localhost", "127.0.0.1", "::1"}, n.nodeIPs()...)
	err := n.pair.Check()
	if err == nil && !n.pair.Outdated(names) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.complain("the kubelet's serving certificate is replaced, the old files are kept as %s.bad and %s.bad: %v",
			n.pair.Cert, n.pair.Key, err)
		if err := n.pair.SetAside(); err != nil {
			n.Log.Warn("keep the old certificate: %v", err)
		}
	}
	ca := n.signer()
	err = n.pair.Make(names, ca)
	if err == nil {
		return nil
	}
	n.Log.Warn("the kubelet's serving certificate is kept in memory for this boot: %v", err)
	n.pair = pairIn("/run/kios/pki")
	return n.pair.Make(names, ca)
}

func pairIn(dir string) nodecert.Pair {
	return nodecert.Pair{Cert: dir + "/kubelet-server.crt", Key: dir + "/kubelet-server.key"}
}

// nodeIPs are the node's addresses as far as they are known beforehand.
func (n *Node) nodeIPs() []string {
	ips, err := kubeletargs.Files{Root: "/"}.NodeIP()
	if err != nil || ips == "" {
		return nil // the kubelet's arguments report it
	}
	return strings.Split(ips, ",")
}

// signer returns the cluster's CA if its key is here, which is so on a first
// node and in a test, and nil otherwise.
func (n *Node) signer() *nodecert.CA {
	const key = "/etc/kubernetes/pki/ca.key"
	if _, err := os.Stat(key); err != nil {
		return nil
	}
	ca, err := nodecert.LoadCA(nodecert.Pair{Cert: kubeletargs.CACert, Key: key})
	if err != nil {
		n.complain("the kubelet's serving certificate signs itself: %v", err)
		return nil
	}
	return ca
}

// writeDropIn writes the kubelet's configuration for this machine.
func (n *Node) writeDropIn() error {
	if err := os.MkdirAll(kubeletargs.DropInDir, 0o700); err != nil {
		return err
	}
	text := kubeletargs.DropIn(kubeletargs.Machine{
		Memory: n.memory, CPUs: n.cpus,
		Cert: n.pair.Cert, Key: n.pair.Key,
		PanicStays: n.options.StayUp,
	})
	return replaceFile(filepath.Join(kubeletargs.DropInDir, "10-node.conf"), string(text), 0o600)
}
