// Package sandbox starts the process that holds a pod's namespaces: /pause of
// the image kios.local/pause, in the ordinary case. What runc needs three
// starts of a Go program for is a dozen system calls here.
//
// The process has less than what runc would give it: always the user 65535, so
// no capabilities, no_new_privs, no open file, a read-only root that is its image
// and nothing else (no /proc, /dev or /sys), and the seccomp filter that it gives
// itself (pods/pause). Its namespaces, the path of its cgroup, host name, sysctls
// and OOM score are those of the OCI bundle, see the OCI runtime specification,
// config.md and config-linux.md.
//
// Of the rest of the bundle, what limits a program is left out, because this one
// sleeps: user, capabilities, seccomp profile, devices and the weight of its
// cgroup. A bundle that asks for more is not Suitable; runc starts that sandbox.
package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"

	// What containerd's CRI plugin notes in the bundle of a sandbox.
	kindAnnotation  = "io.kubernetes.cri.container-type"
	imageAnnotation = "io.kubernetes.cri.podsandbox.image-name"

	// image is the only one whose program is known to need nothing more.
	image = "kios.local/pause:1"
)

// user is the user and group of every sandbox, as in the image.
const user = 65535

// mark is in the bundles of sandboxes. To look for it is cheaper than to decode
// each container's bundle.
var mark = []byte(`"` + kindAnnotation + `":"sandbox"`)

// maxSpec bounds the configuration of a sandbox, which has what its pod says in labels
// and annotations: an API server takes 1.5 MiB of it. runc reads what is larger.
const maxSpec = 4 << 20

// Read returns the configuration of the bundle in dir if it is that of a
// sandbox which Start can start, else nil.
func Read(dir string) *specs.Spec {
	path := filepath.Join(dir, "config.json")
	if info, err := os.Stat(path); err != nil || info.Size() > maxSpec {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, mark) {
		return nil
	}
	return decode(text)
}

func decode(text []byte) *specs.Spec {
	var s specs.Spec
	if err := json.Unmarshal(text, &s); err != nil || !Suitable(&s) {
		return nil
	}
	return &s
}

// Suitable reports whether s is a sandbox of an ordinary pod. Other images than
// ours, user namespaces, labels of security modules, hooks, systemd's cgroups and
// sysctls other than those of the pod's network are for runc.
func Suitable(s *specs.Spec) bool {
	return s.Annotations[kindAnnotation] == "sandbox" && s.Annotations[imageAnnotation] == image &&
		s.Process != nil && s.Root != nil && s.Linux != nil && s.Hooks == nil &&
		slices.Equal(s.Process.Args, []string{"/pause"}) && !s.Process.Terminal &&
		s.Process.SelinuxLabel == "" && s.Process.ApparmorProfile == "" && s.Linux.MountLabel == "" &&
		s.Root.Path == "rootfs" && filepath.IsAbs(s.Linux.CgroupsPath) &&
		!slices.ContainsFunc(s.Linux.Namespaces, unsuitable) && suitableSysctls(s)
}

func unsuitable(ns specs.LinuxNamespace) bool {
	switch ns.Type {
	case specs.NetworkNamespace: // made by containerd, for CNI
		return ns.Path == ""
	case specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace:
		return ns.Path != ""
	}
	return true
}

func suitableSysctls(s *specs.Spec) bool {
	for name := range s.Linux.Sysctl {
		if !strings.HasPrefix(name, "net.") || strings.Contains(name, "/") || !has(s, specs.NetworkNamespace) {
			return false
		}
	}
	return true
}

func has(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return path(s, kind) != nil
}

// path returns the path of a namespace: "" for a new one, nil for the host's.
func path(s *specs.Spec, kind specs.LinuxNamespaceType) *string {
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == kind {
			return &s.Linux.Namespaces[i].Path
		}
	}
	return nil
}

// Sandbox is a process that was started.
type Sandbox struct {
	Pid    int
	pidfd  int
	cgroup string
}

// Start starts the process of the bundle in dir, whose root file system is
// mounted on dir/rootfs. The process is a child of the caller's, who waits for
// it. Nothing is left behind when that fails.
func Start(s *specs.Spec, dir string) (*Sandbox, error) {
	cgroup := filepath.Join(cgroupRoot, s.Linux.CgroupsPath)
	group, err := makeCgroup(cgroup)
	if err != nil {
		return nil, fmt.Errorf("make the cgroup of the sandbox: %w", err)
	}
	defer group.Close()
	l := launch{spec: s, rootfs: filepath.Join(dir, "rootfs"), cgroup: int(group.Fd()), pidfd: -1}
	if err := onThread(l.run); err != nil {
		os.Remove(cgroup)
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	box := &Sandbox{Pid: l.pid, pidfd: l.pidfd, cgroup: cgroup}
	if score := s.Process.OOMScoreAdj; score != nil {
		err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", box.Pid), fmt.Append(nil, *score), 0)
		if err != nil {
			box.Signal(unix.SIGKILL)
			box.Remove()
			return nil, fmt.Errorf("set the OOM score of the sandbox: %w", err)
		}
	}
	return box, nil
}

// makeCgroup makes the cgroup at path and opens it. What is missing of the
// pod's controllers below the pod, runc adds for the pod's containers; to add
// them here lets the sandbox be counted from its start.
func makeCgroup(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	pod := filepath.Dir(path)
	if controllers, err := os.ReadFile(filepath.Join(pod, "cgroup.controllers")); err == nil {
		enable := "+" + strings.Join(strings.Fields(string(controllers)), " +")
		os.WriteFile(filepath.Join(pod, "cgroup.subtree_control"), []byte(enable), 0)
	}
	return os.Open(path)
}

// Signal sends the process a signal. If it has ended, the error is ESRCH.
func (s *Sandbox) Signal(signal unix.Signal) error {
	return unix.PidfdSendSignal(s.pidfd, signal, nil, 0)
}

// Processes returns the numbers of all processes in the cgroup.
func (s *Sandbox) Processes() ([]int, error) {
	text, err := os.ReadFile(filepath.Join(s.cgroup, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	pids := []int{}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Remove removes what is left of a sandbox whose process has ended. It may be
// tried again after an error, but not after success.
func (s *Sandbox) Remove() error {
	if err := removeCgroup(s.cgroup); err != nil {
		return err
	}
	return unix.Close(s.pidfd)
}

// Clean ends the sandbox of the bundle in dir, if that is one that Start has
// started and its shim has died.
func Clean(dir string) error {
	s := Read(dir)
	if s == nil {
		return nil
	}
	return removeCgroup(filepath.Join(cgroupRoot, s.Linux.CgroupsPath))
}

// removeCgroup ends every process in a cgroup and removes it. The kernel lets
// go of it some time after the last process has ended.
func removeCgroup(path string) error {
	os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
	var err error
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("remove the cgroup of the sandbox: %w", err)
}
