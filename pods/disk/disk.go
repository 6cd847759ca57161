// Package disk is the service of the pod "disk": it looks after the disk of the data
// partition, once, and ends. Depending on what it finds, it
//
//   - grows the data partition and its ext4 to the end of the disk, while they
//     are in use (grow.go),
//   - has e2fsck repair a data partition that PID 1 did not mount, and asks PID 1
//     to move the node onto it (repair.go),
//   - makes a data partition on a blank disk, where the user said so, and asks
//     PID 1 to move the node onto it (create.go); on an instance of EC2, also when that
//     is asked for after the service has started (instancestore.go), and on all of the
//     instance's disks as one (stripe.go).
//
// It never touches a disk that is not blank unless the user wrote "wipe: true"
// beside the disk's name; what counts as blank is in probe.go. Only a disk of an instance
// may hold noise, if it is asked for. It does not shrink, move or encrypt anything, and
// knows no partition table but GPT.
//
// The order of writes is such that the next run completes what a power cut
// interrupted. libblkid (wipefs(8) and blkid(8)) tells what is on a disk;
// e2fsprogs makes and repairs the file system.
package disk

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"kios/internal/control"
	"kios/internal/datapart"
)

// Service is the disk service. Its paths are those of the node, wherever they
// are mounted.
type Service struct {
	Log      *log.Logger
	Dev      string // the node's /dev
	Sys      string // sysfs
	Data     string // a directory that is on the data partition if one is mounted
	Settings string // /etc/kios/disk.yaml
	Cmdline  string // /proc/cmdline
	Boot     string // the file in which PID 1 says from which partition the machine booted
	Control  string // PID 1's socket

	quiet    time.Duration // shorter in tests; 0 for the usual
	patience time.Duration // the same of requestBound
}

const (
	// Disks may appear one after another, because the pod "modules" loads their
	// drivers. The service decides when no disk has appeared for usualQuiet.
	usualQuiet  = 2 * time.Second
	settleBound = 20 * time.Second
	// moveBound is how long PID 1 may take to move the node.
	moveBound = 3 * time.Minute
)

// Run does what there is to do. What only the user can change is logged, and is
// not an error: trying again would not help.
func (s *Service) Run(ctx context.Context) error {
	w := s.wishes()
	d, err := s.mounted()
	switch {
	case err != nil:
		return err
	case d != nil:
		s.grow(d)
		return s.stay(ctx, w, d)
	case w.owner.DataPart == datapart.None:
		s.Log.Printf("datapart=none: no data partition is looked for or made")
		return nil
	}
	return s.attach(ctx, w)
}

// attach finds or makes a data partition for a node that has none mounted.
func (s *Service) attach(ctx context.Context, w wishes) error {
	events, err := datapart.OpenUevents()
	if err != nil {
		return err
	}
	defer events.Close()
	settle(events, cmp.Or(s.quiet, usualQuiet))
	return s.use(ctx, w, events)
}

// use finds or makes a data partition among the disks that are there.
func (s *Service) use(ctx context.Context, w wishes, events datapart.Events) error {
	own := s.system().InstanceStore()
	if w.instanceStore {
		s.name(&w, own)
	}
	node, problems, err := s.find(w)
	for _, p := range problems {
		s.Log.Printf("looking for the data partition: %v", p)
	}
	switch {
	case err != nil:
		s.Log.Printf("no data partition is used or made: %v", err)
	case node != "":
		return s.repair(ctx, node, w)
	case w.striped && len(own) > 1:
		return s.stripe(ctx, w, own)
	case w.device != "":
		return s.create(ctx, w, problems, events)
	case s.mayBeAsked(w):
		return s.useWhenAsked(ctx, events)
	case len(problems) == 0 && !w.asked():
		s.Log.Printf("there is no data partition, and none is to be made: to make one, name a disk in %s, or with kios.disk= on the kernel command line", s.Settings)
	}
	return nil
}

// settle waits until no block device comes or goes any more.
func settle(events datapart.Events, quiet time.Duration) {
	for end := time.Now().Add(settleBound); time.Now().Before(end); {
		start := time.Now()
		if events.Wait(quiet); time.Since(start) >= quiet {
			return
		}
	}
}

func (s *Service) system() datapart.System { return datapart.System{Sys: s.Sys, Dev: s.Dev} }

// find returns the name in /dev of the data partition: the one that PID 1 would take,
// or one on the disk that the file names. It is "" if one may be made.
func (s *Service) find(w wishes) (string, []datapart.Problem, error) {
	r := w.rule()
	if strings.HasPrefix(r.DataPart, "/dev/") {
		// One that is named may lie on a disk that has no table yet.
		info, err := os.Stat(s.host(r.DataPart))
		if err != nil || info.Mode()&os.ModeDevice == 0 {
			return "", nil, nil
		}
		return r.DataPart, nil, nil
	}
	found, _, err := s.system().Look(r)
	for _, p := range found.Ignored {
		s.Log.Printf("%s is left alone: it is not on the disk that the machine booted from, and nobody has named it or its disk", p)
	}
	if err != nil || found.Device == "" {
		return "", found.Problems, err
	}
	return "/dev" + strings.TrimPrefix(found.Device, s.Dev), found.Problems, nil
}

// move asks PID 1 to move the node onto the data partition. PID 1 restarts the
// daemons for it, so this process may not live to see the answer.
func (s *Service) move(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, moveBound)
	defer cancel()
	s.Log.Printf("the node moves onto the data partition %s now; its daemons restart", node)
	if err := control.Send(ctx, s.Control, node); err != nil {
		return fmt.Errorf("move the node onto %s: %w", node, err)
	}
	return nil
}

// size writes a number of bytes for people.
func size(bytes int64) string {
	switch {
	case bytes >= 1<<40:
		return fmt.Sprintf("%.1f TiB", float64(bytes)/(1<<40))
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}
