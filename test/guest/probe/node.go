package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// node is what probe prints. Fields that were not asked for are absent.
type node struct {
	Processes []process         `json:"processes,omitempty"`
	Mounts    []mount           `json:"mounts,omitempty"`
	Sockets   []socket          `json:"sockets,omitempty"`
	Root      []file            `json:"root,omitempty"` // the root's own file system, what is mounted over it removed
	Memory    *memory           `json:"memory,omitempty"`
	Cmdline   string            `json:"cmdline,omitempty"`
	Boot      json.RawMessage   `json:"boot,omitempty"`
	Sysctls   map[string]string `json:"sysctls,omitempty"`
}

type process struct {
	PID    int      `json:"pid"`
	PPID   int      `json:"ppid"`
	Name   string   `json:"name"` // 15 bytes at most
	Exe    string   `json:"exe,omitempty"`
	Args   []string `json:"args,omitempty"`
	Cgroup string   `json:"cgroup"`
	Kernel bool     `json:"kernel"` // a kernel thread
	Host   bool     `json:"host"`   // has the mount namespace of PID 1, so is in no container
	Mounts int      `json:"mounts"` // how many it sees
	Status []string `json:"status"` // the lines Uid, CapEff, NoNewPrivs and Seccomp of proc_pid_status(5)
}

type mount struct {
	Target  string   `json:"target"`
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Root    string   `json:"root"` // the directory of the file system that is mounted
	Options []string `json:"options"`
	Shared  bool     `json:"shared"`
}

type socket struct {
	Kind    string `json:"kind"`              // tcp, tcp6, udp, udp6 or unix
	Address string `json:"address"`           // or path
	Process string `json:"process,omitempty"` // the name of one that has it open
}

type file struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"` // as ls -l shows it
	Size   int64  `json:"size"`
	Target string `json:"target,omitempty"`
	Setuid bool   `json:"setuid,omitempty"` // or setgid
}

type memory struct {
	Total     int64 `json:"total"` // bytes
	Available int64 `json:"available"`
}

// parts fill in a field each.
var parts = map[string]func(*node) error{
	"processes": func(n *node) (err error) { n.Processes, err = readProcesses(); return },
	"mounts":    func(n *node) (err error) { n.Mounts, err = readMounts(); return },
	"sockets":   func(n *node) (err error) { n.Sockets, err = readSockets(); return },
	"root":      func(n *node) (err error) { n.Root, err = readRoot(); return },
	"memory":    func(n *node) (err error) { n.Memory, err = readMemory(); return },
	"cmdline":   func(n *node) (err error) { n.Cmdline, err = readLine("/proc/cmdline"); return },
	"boot":      func(n *node) (err error) { n.Boot, err = os.ReadFile(onHost("/run/kios/boot.json")); return },
}

func show(names []string) error {
	n := &node{Sysctls: map[string]string{}}
	if len(names) == 0 {
		for name := range parts {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := n.read(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	return out.Encode(n)
}

func (n *node) read(name string) error {
	if part, ok := parts[name]; ok {
		return part(n)
	}
	if !strings.Contains(name, ".") {
		return errors.New("there is no such part")
	}
	value, err := readLine("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	n.Sysctls[name] = value
	return err
}

func readLine(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}

func readProcesses() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	hostNS, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("the pod must be privileged, with hostPID: %w", err)
	}
	var list []process
	for _, dir := range dirs {
		p, err := readProcess(dir, hostNS)
		if err == nil {
			list = append(list, p)
		}
		// Otherwise it ended in the meantime.
	}
	slices.SortFunc(list, func(a, b process) int { return a.PID - b.PID })
	return list, nil
}

func readProcess(dir, hostNS string) (process, error) {
	p, err := parseStat(dir)
	if err != nil {
		return p, err
	}
	p.Exe, _ = os.Readlink(dir + "/exe") // kernel threads and zombies have none
	ns, _ := os.Readlink(dir + "/ns/mnt")
	p.Host = ns == hostNS
	args, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, err
	}
	if len(args) > 0 {
		p.Args = strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
	}
	cgroup, err := readLine(dir + "/cgroup")
	if err != nil {
		return p, err
	}
	p.Cgroup = strings.TrimPrefix(cgroup, "0::")
	return p, p.readLimits(dir)
}

// readLimits reads what a process may do and see.
func (p *process) readLimits(dir string) error {
	mounts, err := readLines(dir + "/mountinfo")
	if err != nil {
		return err
	}
	p.Mounts = len(mounts)
	status, err := readLines(dir + "/status")
	for _, line := range status {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"Uid", "CapEff", "NoNewPrivs", "Seccomp"}, name) {
			p.Status = append(p.Status, name+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	return err
}

// parseStat reads /proc/PID/stat, where the name stands in parentheses and may
// contain some itself: "1 (init) S 0 1 1 0 -1 4194560 ...".
func parseStat(dir string) (process, error) {
	stat, err := readLine(dir + "/stat")
	if err != nil {
		return process{}, err
	}
	begin, end := strings.Index(stat, "("), strings.LastIndex(stat, ")")
	fields := strings.Fields(stat[end+1:])
	if begin < 0 || end < 0 || len(fields) < 7 {
		return process{}, fmt.Errorf("%s/stat is %q", dir, stat)
	}
	pid, _ := strconv.Atoi(filepath.Base(dir))
	ppid, _ := strconv.Atoi(fields[1])
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	const kthread = 0x00200000 // PF_KTHREAD
	return process{PID: pid, PPID: ppid, Name: stat[begin+1 : end], Kernel: flags&kthread != 0}, nil
}

// readMounts reads the mounts of PID 1: proc_pid_mountinfo(5).
func readMounts() ([]mount, error) {
	lines, err := readLines("/proc/1/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []mount
	for _, line := range lines {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 6 || len(right) < 3 {
			return nil, fmt.Errorf("mountinfo has the line %q", line)
		}
		list = append(list, mount{
			Root:    left[3],
			Target:  left[4],
			Options: options(left[5], right[2]),
			Shared:  strings.Contains(before, " shared:"),
			Type:    right[0],
			Source:  right[1],
		})
	}
	return list, nil
}

// options merges the options of a mount with those of its file system.
func options(mount, super string) []string {
	list := strings.Split(mount, ",")
	for _, o := range strings.Split(super, ",") {
		if o != "rw" && o != "ro" && !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return lines, scanner.Err()
}

// readSockets returns the sockets of PID 1's network that wait for somebody.
func readSockets() ([]socket, error) {
	owners := socketOwners()
	var list []socket
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6"} {
		found, err := readInet(kind, owners)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // no IPv6
			return nil, err
		}
		list = append(list, found...)
	}
	unix, err := readUnix(owners)
	return append(list, unix...), err
}

// readInet reads /proc/net/tcp and its relatives: the second field is the local
// address, the fourth the state and the tenth the inode.
func readInet(kind string, owners map[string]string) ([]socket, error) {
	lines, err := readLines("/proc/1/net/" + kind)
	if err != nil {
		return nil, err
	}
	waiting := "0A" // TCP_LISTEN
	if strings.HasPrefix(kind, "udp") {
		waiting = "07" // not connected
	}
	var list []socket
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != waiting {
			continue
		}
		address, err := inetAddress(f[1])
		if err != nil {
			return nil, err
		}
		list = append(list, socket{kind, address, owners[f[9]]})
	}
	return list, nil
}

// inetAddress turns "0100007F:1F90" into "127.0.0.1:8080": the address is in
// words of the machine's byte order, here little-endian.
func inetAddress(s string) (string, error) {
	address, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	if err != nil {
		return "", err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return "", fmt.Errorf("%q is no address", s)
	}
	return netip.AddrPortFrom(ip, uint16(number)).String(), nil
}

// readUnix reads /proc/net/unix; __SO_ACCEPTCON in the flags means listening.
func readUnix(owners map[string]string) ([]socket, error) {
	lines, err := readLines("/proc/1/net/unix")
	if err != nil {
		return nil, err
	}
	var list []socket
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue // no path
		}
		flags, _ := strconv.ParseUint(f[3], 16, 64)
		const acceptCon = 1 << 16
		bound := f[4] == "0002" // a datagram socket with a path needs no listen
		if flags&acceptCon != 0 || bound {
			list = append(list, socket{"unix", f[7], owners[f[6]]})
		}
	}
	return list, nil
}

// socketOwners maps the inodes of sockets to the names of processes.
func socketOwners() map[string]string {
	owners := map[string]string{}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, _ := os.Readlink(link)
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		name, _ := readLine(filepath.Join(filepath.Dir(filepath.Dir(link)), "comm"))
		owners[strings.TrimSuffix(inode, "]")] = name
	}
	return owners
}

// readRoot lists the host's root file system. It is mounted once more, without
// what is mounted below it, or that would hide parts of it.
func readRoot() ([]file, error) {
	dir, err := os.MkdirTemp("/", "root-") // an image of ours has no /tmp
	if err != nil {
		return nil, err
	}
	if err := syscall.Mount(host, dir, "", syscall.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount the root again: %w", err)
	}
	defer func() {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		_ = os.Remove(dir)
	}()
	return list(dir)
}

func list(root string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{
			Path:   "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/"),
			Mode:   info.Mode().String(),
			Setuid: info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0,
		}
		if info.Mode().IsRegular() {
			f.Size = info.Size()
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			f.Target, err = os.Readlink(path)
		}
		files = append(files, f)
		return err
	})
	return files, err
}

func readMemory() (*memory, error) {
	lines, err := readLines("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	m := &memory{}
	for _, line := range lines {
		var kB int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kB); err == nil {
			m.Total = kB << 10
		}
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kB); err == nil {
			m.Available = kB << 10
		}
	}
	return m, nil
}
