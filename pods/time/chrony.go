// Package chrony is the service of the pod "time": it keeps the node's clock by
// running chronyd, from Debian, and telling it where the time comes from:
//
//   - from the servers in /etc/kios/time.yaml, if that names any;
//   - otherwise from those that DHCP offers, which the pod network writes to
//     /run/kios/network/ntp;
//   - and from the hypervisor's clock, if there is one (package ptp).
//
// It asks no other servers: a node contacts none on the internet that its owner
// did not name. Nothing waits for this service, and it waits for nothing.
//
// chronyd runs as a user of its own. It has no open port, and no capability but
// the one to set the clock. When the servers change, chronyc tells it and it keeps
// running. When chronyd ends, this service ends as well, and the kubelet starts
// both again. See chrony.conf(5) and chronyd(8).
//
// It leaves out serving time to others, and a list of leap seconds: the servers
// announce those. A list would be wrong where servers smear a leap second, as those
// of the big clouds do.
package chrony

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kios/internal/boottime"
	"kios/internal/ptp"
	"kios/internal/userfile"
	"kios/internal/wholefile"
	"kios/pods/network/resolvconf"

	"golang.org/x/sys/unix"
)

// Service keeps the clock.
type Service struct {
	Chronyd, Chronyc string // the programs
	Etc              string // where parts of the host's /etc are mounted: kios, resolv.conf, ssl/certs
	NetworkDir       string // where the pod network writes the files ntp and resolv.conf
	StateDir         string // what outlives a boot: the clock's drift, NTS cookies
	RunDir           string // this pod's /run, a tmpfs
	ResolvConf       string // the container's, to be kept like the host's; "" if it is not ours
	ClockSocket      string // where PID 1 gives away the hypervisor's clock
	Observe          bool   // never set the clock, only tell what it would be
	Log              *log.Logger

	clock        hostClock // the hypervisor's, nil if there is none
	clockName    string
	bootID       string
	synchronised bool             // the clock was right at least once in this boot
	clueless     bool             // the clock began at the time that the kernel was built: there is no other
	confirm      bool             // a server of DHCP was far off, or all of them in sum: two must agree
	refused      bool             // a server of DHCP was far off, and that was said
	origin       time.Time        // when the machine was started, by the clock before servers of DHCP moved it
	relax        <-chan time.Time // until one server of DHCP is believed again
	choice       choice           // where the time comes from

	daemon     *daemon
	stopFeed   context.CancelFunc
	conf       string // the configuration that chronyd runs with
	sources    string // the servers that it has
	complaints string // what was said about the user's file last
	text       []byte // of the user's file, as last read
	resolv     []byte
	behind     lag
	patience   <-chan time.Time // until it is said that nobody answers
}

// patience is how long sources may take to answer before a line says so.
const patience = 30 * time.Second

// userFile is how users know the file.
func (s *Service) userFile() string { return "/etc/kios/time.yaml" }

// Run keeps the clock until ctx ends. An error means that chronyd does not run.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	w, err := newWatcher(s.Etc, filepath.Join(s.Etc, "kios"), s.NetworkDir)
	if err != nil {
		return err
	}
	changed, failed := make(chan struct{}), make(chan error, 1)
	if err := w.add(); err != nil {
		return err
	}
	go func() { failed <- w.run(ctx, changed) }()
	for {
		if err := s.update(ctx); err != nil {
			return err
		}
		if err := s.wait(ctx, changed, failed); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return s.end()
		}
		if err := w.add(); err != nil {
			return err
		}
	}
}

// wait listens to chronyd until a file has changed.
func (s *Service) wait(ctx context.Context, changed <-chan struct{}, failed <-chan error) error {
	look := time.NewTicker(time.Minute)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-changed:
			return nil
		case line := <-s.daemon.lines:
			if s.hear(ctx, line); s.demandSecond(line) || s.movesFar(0) && !s.confirm {
				return nil
			}
		case <-s.behind.due:
			if s.catchUp(ctx); s.confirm {
				return nil
			}
		case <-s.relax:
			s.trustAgain()
			return nil
		case <-look.C:
			return nil // the clock is looked at by update, too
		case <-s.patience:
			s.patience = nil
			s.Log.Printf("no time source has answered within %s: the clock is as it was at the start (is UDP port 123 blocked?)", patience)
		case <-s.daemon.ended:
			return fmt.Errorf("chronyd ended: %s", s.daemon.cmd.ProcessState)
		}
	}
}

// prepare makes the directories and looks for the hypervisor's clock.
func (s *Service) prepare(ctx context.Context) error {
	// chronyd's sockets are for its group, which this process is in, so that it
	// needs no capability to use them.
	syscall.Umask(0o007)
	if err := shareDir(s.RunDir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.sourceDir(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(s.sourceDir(), 0o755); err != nil {
		return err
	}
	if err := shareDir(s.StateDir); err != nil {
		s.Log.Printf("the clock's drift will not be remembered: %v", err)
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	s.bootID = string(id)
	s.synchronised = s.wasSynchronised()
	s.recallOrigin()
	s.clueless = isClueless()
	s.findClock(ctx)
	return nil
}

// isClueless reports whether the clock says that the machine was started when the
// kernel was built: PID 1 sets it so if it says less.
func isClueless() bool {
	built, err := boottime.Built()
	started := time.Now().Add(-boottime.Now())
	return err == nil && started.Sub(built).Abs() < 10*time.Minute
}

// shareDir makes a directory in which chronyd may write, but not replace what
// is root's. An owner may give his directory to a group that he is in: that
// takes no capability.
func shareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(dir, -1, UID); err != nil {
		return err
	}
	return os.Chmod(dir, os.ModeSticky|0o770)
}

// findClock asks for the hypervisor's clock. A node does well without.
func (s *Service) findClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	clock, err := ptp.Open(ctx, s.ClockSocket)
	if err != nil {
		s.Log.Print(err)
	}
	if clock != nil {
		s.clock, s.clockName = clock, clock.Name
	}
}

// update reads all files and tells chronyd what has changed.
func (s *Service) update(ctx context.Context) error {
	c := s.read()
	s.choice = c
	sources := sourceFile(c.sources)
	if sources != s.sources {
		s.trustAgain()
	}
	s.watchSum()
	conf := s.config(c)
	resolvers := s.copyResolvConf()
	if conf != s.conf || sources != s.sources {
		s.Log.Print(s.describe(c))
		s.patience = nil
		if !s.synchronised && sources != "" {
			s.patience = time.After(patience)
		}
	}
	if sources != s.sources || s.daemon == nil {
		if err := wholefile.Volatile(filepath.Join(s.sourceDir(), "kios.sources"), []byte(sources), 0o644); err != nil {
			return err
		}
	}
	reload := s.daemon != nil && sources != s.sources
	s.sources = sources
	if conf != s.conf {
		s.conf = conf
		return s.restart(ctx, c.ptp && s.clock != nil)
	}
	if reload {
		s.tell(ctx, "reload", "sources")
	}
	if resolvers {
		s.retry(ctx)
	}
	return nil
}

// read reads the user's file and DHCP's, and reports mistakes once.
func (s *Service) read() choice {
	text, err := readIfThere(filepath.Join(s.Etc, "kios/time.yaml"))
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("read %s: %w", s.userFile(), err))
		text = s.text // as it was when it could be read
	}
	s.text = text
	dhcp, err := readIfThere(filepath.Join(s.NetworkDir, "ntp"))
	if err != nil {
		errs = append(errs, fmt.Errorf("read the servers from DHCP: %w", err))
	}
	c, more := choose(s.userFile(), text, dhcp)
	errs = append(errs, more...)
	complaints := fmt.Sprint(errs)
	if complaints != s.complaints {
		for _, err := range errs {
			s.Log.Print(err)
		}
	}
	s.complaints = complaints
	return c
}

// describe tells where the time comes from, and why.
func (s *Service) describe(c choice) string {
	var parts []string
	for _, src := range c.sources {
		parts = append(parts, src.String())
	}
	text := "time from " + strings.Join(parts, ", ") + " (" + c.from + ")"
	if len(parts) == 0 {
		text = "no time servers: " + s.userFile() + " names none"
		if c.from != s.userFile() {
			text += ", nor does DHCP"
		}
	}
	switch {
	case c.ptp && s.clock != nil:
		text += fmt.Sprintf("; and from the hypervisor's clock, %q", s.clockName)
	case s.clock != nil:
		text += "; not from the hypervisor's clock, as " + s.userFile() + " says"
	case len(parts) == 0:
		text += "; the clock runs on its own"
	}
	return text
}

// restart starts chronyd with the new configuration.
func (s *Service) restart(ctx context.Context, feed bool) error {
	if err := s.end(); err != nil {
		return err
	}
	err := wholefile.Volatile(s.configFile(), []byte(s.conf), 0o644)
	if err != nil {
		return err
	}
	if s.daemon, err = s.startDaemon(s.synchronised); err != nil {
		return err
	}
	if feed {
		ctx, s.stopFeed = context.WithCancel(ctx)
		go s.feed(ctx, s.clock)
	}
	return nil
}

// end stops chronyd and what feeds it.
func (s *Service) end() error {
	if s.stopFeed != nil {
		s.stopFeed()
		s.stopFeed = nil
	}
	if s.daemon == nil {
		return nil
	}
	d := s.daemon
	s.daemon = nil
	return s.stop(d)
}

// copyResolvConf makes the container's resolv.conf like the host's, and reports
// whether that changed it. What the kubelet puts into a pod is how the file was
// when the pod was made: before DHCP had an answer. The file is overwritten and
// not replaced, because it is a mount.
func (s *Service) copyResolvConf() bool {
	if s.ResolvConf == "" {
		return false
	}
	text, err := s.hostResolvConf()
	if err == nil && s.resolv != nil && bytes.Equal(text, s.resolv) {
		return false
	}
	if err == nil {
		err = overwrite(s.ResolvConf, text)
	}
	if err != nil {
		s.Log.Printf("names of time servers may not resolve: %v", err)
		return false
	}
	s.resolv = slices.Concat([]byte{}, text)
	return true
}

// hostResolvConf reads the host's resolv.conf: the user's own, or the one of the pod
// network, to which the name leads. What is mounted here of the latter is how it was
// when this container started.
func (s *Service) hostResolvConf() ([]byte, error) {
	path := filepath.Join(s.Etc, "resolv.conf")
	text, err := readIfThere(path)
	if err != nil || !resolvconf.IsOurs(text) || !onOneFilesystem(path, s.NetworkDir) {
		return text, err
	}
	return readIfThere(filepath.Join(s.NetworkDir, "resolv.conf"))
}

// onOneFilesystem tells the pod network's file, which is in memory, from a user's in
// /etc, which may be a copy of it and begin alike.
func onOneFilesystem(a, b string) bool {
	var of [2]unix.Stat_t
	return unix.Stat(a, &of[0]) == nil && unix.Stat(b, &of[1]) == nil && of[0].Dev == of[1].Dev
}

// overwrite writes first and shortens then, so that a reader sees no empty file.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	return f.Close()
}

// tell gives chronyd a command.
func (s *Service) tell(ctx context.Context, command ...string) {
	if _, err := s.ask(ctx, command...); err != nil {
		s.Log.Print(err)
	}
}

// retry makes chronyd try all servers now: names that did not resolve before may
// resolve now, and servers that were out of reach a minute ago may answer.
func (s *Service) retry(ctx context.Context) {
	s.tell(ctx, "refresh")
	s.tell(ctx, "burst", "4/8")
}

func readIfThere(path string) ([]byte, error) { return userfile.ReadIfThere(path, userfile.Max) }
