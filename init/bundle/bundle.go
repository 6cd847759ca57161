// Package bundle finds the containers that run without the help of containerd: from
// the OCI bundles that its shims keep under /run. It ends them in order, containers
// before their sandboxes.
//
// It follows the OCI runtime specification's config.json, containerd's layout
// of its state directory and the annotations of containerd's CRI plugin. It
// leaves out preStop hooks and stop signals other than SIGTERM: those belong
// to the kubelet's graceful shutdown.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kios/internal/consoleline"

	"golang.org/x/sys/unix"
)

// Dir is where the bundles of pods are on a node.
const Dir = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"

// Container is a container that was started. It may have ended.
type Container struct {
	ID      string
	Name    string // container C of pod NAMESPACE/POD, or sandbox of it
	Sandbox bool
	Pid     int
	Cgroup  string // below the mount point of cgroup2
}

// spec is the part of an OCI config.json that is looked at.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

// List returns the containers whose bundles are in dir, and an error for each
// bundle that cannot be read.
func List(dir string) (containers []Container, errs []error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		c, err := read(filepath.Join(dir, e.Name()))
		switch {
		case errors.Is(err, os.ErrNotExist): // not started yet, or just removed
		case err != nil:
			errs = append(errs, err)
		default:
			containers = append(containers, c)
		}
	}
	return containers, errs
}

// Any reports whether there is a container, other than a sandbox, in dir. It reads no
// more than it needs to tell.
func Any(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		c, err := read(filepath.Join(dir, e.Name()))
		return err == nil && !c.Sandbox
	})
}

// Find returns the container of a cgroup, which may be one that the container has
// made below its own.
func Find(dir, cgroup string) (c Container, found bool) {
	for path := filepath.Clean("/" + cgroup); path != "/"; path = filepath.Dir(path) {
		if c, err := read(filepath.Join(dir, filepath.Base(path))); err == nil && c.Cgroup == path {
			return c, true
		}
	}
	return Container{}, false
}

func read(dir string) (Container, error) {
	text, err := os.ReadFile(filepath.Join(dir, "init.pid"))
	if err != nil {
		return Container{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return Container{}, fmt.Errorf("read %s/init.pid: %q is no process", dir, text)
	}
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return Container{}, err
	}
	var s spec
	if err := json.Unmarshal(config, &s); err != nil {
		return Container{}, fmt.Errorf("read %s/config.json: %w", dir, err)
	}
	return s.container(filepath.Base(dir), pid), nil
}

func (s spec) container(id string, pid int) Container {
	const cri = "io.kubernetes.cri."
	c := Container{ID: id, Pid: pid, Cgroup: filepath.Clean("/" + s.Linux.CgroupsPath)}
	c.Sandbox = s.Annotations[cri+"container-type"] == "sandbox"
	pod := s.Annotations[cri+"sandbox-namespace"] + "/" + s.Annotations[cri+"sandbox-name"]
	switch {
	case pod == "/":
		c.Name = "container " + id
	case c.Sandbox:
		c.Name = "sandbox of pod " + pod
	default:
		c.Name = "container " + s.Annotations[cri+"container-name"] + " of pod " + pod
	}
	c.Name = consoleline.Clean(c.Name, 300)
	return c
}

// Split separates containers from sandboxes.
func Split(all []Container) (containers, sandboxes []Container) {
	for _, c := range all {
		if c.Sandbox {
			sandboxes = append(sandboxes, c)
		} else {
			containers = append(containers, c)
		}
	}
	return containers, sandboxes
}

// running is a container's first process, held by a file descriptor, so that
// its number cannot come to mean another.
type running struct {
	Container
	pidfd int
}

// open returns false if the container has ended. A later process with the same number
// is in another cgroup.
func open(c Container) (running, bool) {
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return running{}, false
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.Pid))
	if !inCgroup(string(text), c.Cgroup) {
		unix.Close(fd)
		return running{}, false
	}
	return running{c, fd}, true
}

// inCgroup reads /proc/PID/cgroup; a container may have cgroups of its own
// below the one it was given.
func inCgroup(text, cgroup string) bool {
	for line := range strings.Lines(text) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return cgroup != "/" && (path == cgroup || strings.HasPrefix(path, cgroup+"/"))
		}
	}
	return false
}

// Logger is where Stop reports.
type Logger interface {
	Warn(format string, args ...any)
	Info(format string, args ...any)
}

// killBound is how long processes may take to go away after SIGKILL.
const killBound = 5 * time.Second

// Stop sends each container SIGTERM and waits for all of them together. A container
// that has not ended within the bound is logged and killed, with everything in its
// cgroup. When cut is closed, the bound is over. Stop returns how many containers
// ran.
func Stop(containers []Container, bound time.Duration, cut <-chan struct{}, log Logger) int {
	var left []running
	for _, c := range containers {
		if r, ok := open(c); ok {
			left = append(left, r)
			unix.PidfdSendSignal(r.pidfd, unix.SIGTERM, nil, 0)
		}
	}
	count := len(left)
	start := time.Now()
	left = wait(left, bound, cut, log)
	for _, r := range left {
		log.Warn("%s did not end within %v of SIGTERM and is killed", r.Name, time.Since(start).Round(100*time.Millisecond))
		r.kill()
	}
	for _, r := range wait(left, killBound, nil, log) {
		log.Warn("%s did not end within %v of SIGKILL: its process hangs in the kernel", r.Name, killBound)
		unix.Close(r.pidfd)
	}
	return count
}

// kill ends the whole cgroup, and the first process in case that fails.
func (r running) kill() {
	os.WriteFile(filepath.Join("/sys/fs/cgroup", r.Cgroup, "cgroup.kill"), []byte("1"), 0)
	unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
}

// pollBound is how long wait sleeps before it looks whether cut is closed.
const pollBound = 100 * time.Millisecond

func pollFds(all []running) []unix.PollFd {
	fds := make([]unix.PollFd, len(all))
	for i, r := range all {
		fds[i] = unix.PollFd{Fd: int32(r.pidfd), Events: unix.POLLIN}
	}
	return fds
}

// wait returns those that have not ended within the bound, or until cut is closed.
func wait(left []running, bound time.Duration, cut <-chan struct{}, log Logger) []running {
	start := time.Now()
	for len(left) > 0 {
		remaining := bound - time.Since(start)
		select {
		case <-cut:
			return left
		default:
		}
		fds := pollFds(left)
		n, err := unix.Poll(fds, int(max(min(remaining, pollBound), 0).Milliseconds()))
		if errors.Is(err, unix.EINTR) || n == 0 && remaining > pollBound {
			continue
		}
		if n <= 0 {
			return left
		}
		var still []running
		for i, r := range left {
			if fds[i].Revents == 0 {
				still = append(still, r)
				continue
			}
			log.Info("%s ended after %v", r.Name, time.Since(start).Round(time.Millisecond))
			unix.Close(r.pidfd)
		}
		left = still
	}
	return nil
}
