package datapart

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/cmdline"
	"kios/internal/gpt"
)

// Values of Rule.DataPart that are no partition, and of Rule.Disk that is no disk.
const (
	Auto = "auto"
	None = "none"
)

const partUUID = "PARTUUID="

// Rule says where the data partition may be.
type Rule struct {
	// DataPart is Auto, None, the path of a device in /dev, or PARTUUID= and the GUID
	// of a partition, as datapart= on the kernel command line has it.
	DataPart string
	// Disk is where the machine's owner wants a data partition if there is none: a path
	// in /dev, Auto for any disk of the machine, or "" for nowhere. What is made there
	// is found there.
	Disk string
	// Boot is the GUID of a partition of the disk that the machine booted from, or zero
	// if nobody knows.
	Boot gpt.GUID
	// Path decides between copies of that disk.
	Path BootPath
}

// RuleOf returns what a kernel command line says.
func RuleOf(o cmdline.Options) Rule { return Rule{DataPart: o.DataPart, Disk: o.Disk} }

func (r Rule) knowsBoot() bool { return r.Boot != gpt.GUID{} }

// named reports whether a partition is named by its GUID.
func (r Rule) named() bool { return strings.HasPrefix(r.DataPart, partUUID) }

// choose picks the data partition. The disk that the machine booted from goes before
// others: who can write there needs no data partition to rule the node.
func (s System) choose(r Rule, all survey) (Found, error) {
	found := Found{Problems: all.problems}
	if r.named() {
		candidates, err := all.withGUID(r.DataPart)
		if err == nil {
			found.Device, err = one(s.original(r, candidates))
		}
		return found, err
	}
	boot := s.bootDisks(r, all)
	if len(boot) > 1 {
		return found, fmt.Errorf("the disks %s all have the partition %v, from which the machine booted: remove the copies, or name the data partition with datapart=/dev/NAME on the kernel command line", strings.Join(boot, " and "), r.Boot)
	}
	for _, counts := range []func(disk string) bool{
		func(disk string) bool { return slices.Contains(boot, disk) },
		func(disk string) bool { return s.wanted(r, disk) },
	} {
		candidates, others := all.data(counts)
		if len(candidates) == 0 {
			found.Ignored = others
			continue
		}
		device, err := one(candidates)
		found.Device, found.Ignored = device, others
		return found, errors.Join(err, s.unread(r, boot, candidates, all))
	}
	return found, nil
}

// one returns the only candidate. The error for several says what to do.
func one(candidates []Partition) (string, error) {
	if len(candidates) == 1 {
		return candidates[0].Device, nil
	}
	var names []string
	for _, p := range candidates {
		names = append(names, p.String())
	}
	if len(names) == 0 {
		return "", nil
	}
	return "", fmt.Errorf("each of %s could be the data partition: name one with datapart=/dev/NAME or datapart=PARTUUID=GUID on the kernel command line", strings.Join(names, ", "))
}

// unread refuses a partition that counts only because it is the single one, as long
// as a disk that counts as well could not be read: that one may have the real one.
func (s System) unread(r Rule, boot []string, candidates []Partition, all survey) error {
	if r.Disk != Auto || slices.Contains(boot, candidates[0].Disk) {
		return nil
	}
	for _, p := range all.problems {
		if s.Fixed(p.Disk) == nil {
			return fmt.Errorf("%s could be the data partition, but so could one on a disk that cannot be read (%w): repair or remove that disk, or name the partition with datapart=PARTUUID=GUID on the kernel command line", candidates[0], p)
		}
	}
	return nil
}

// bootDisks returns the disk that the machine booted from. If there are copies of it,
// and firmware does not say which one it was, it returns all of them.
func (s System) bootDisks(r Rule, all survey) (disks []string) {
	for _, p := range all.partitions {
		if r.knowsBoot() && p.GUID == r.Boot && !slices.Contains(disks, p.Disk) {
			disks = append(disks, p.Disk)
		}
	}
	return s.onBootPath(r.Path, disks)
}

// original returns the partition that is on the disk which firmware booted from, if it
// is one of several copies.
func (s System) original(r Rule, copies []Partition) []Partition {
	var disks []string
	for _, p := range copies {
		disks = append(disks, p.Disk)
	}
	disks = s.onBootPath(r.Path, disks)
	return slices.DeleteFunc(copies, func(p Partition) bool { return !slices.Contains(disks, p.Disk) })
}

// wanted reports whether the owner wants a data partition on a disk.
func (s System) wanted(r Rule, disk string) bool {
	if r.Disk == Auto {
		return s.Fixed(disk) == nil
	}
	return r.Disk == "/dev/"+disk
}

// Demand returns why a device is no data partition that a node may move onto, or nil.
// It opens disks that the kernel lists, and never the path that it is given: that may
// be anything, such as a watchdog. A partition of a fixed disk is good enough here,
// since whoever asks has the right to choose one.
func (s System) Demand(r Rule, device string) error {
	switch {
	case r.DataPart == None:
		return errors.New("datapart=none on the kernel command line forbids it")
	case strings.HasPrefix(r.DataPart, "/dev/"):
		return s.demandNamed(r, device)
	}
	all := s.survey()
	i := slices.IndexFunc(all.partitions, func(p Partition) bool { return p.Device == device })
	if i < 0 {
		return fmt.Errorf("%s is no partition of a disk of this machine (there are: %s)", device, s.names())
	}
	p := all.partitions[i]
	switch {
	case r.named():
		found, err := s.choose(r, all)
		if err == nil && found.Device != device {
			err = fmt.Errorf("%s is not the partition of datapart=%s", p, r.DataPart)
		}
		return err
	case p.Type != gpt.TypeKiosData:
		return fmt.Errorf("%s has the GPT type %v, and a data partition has %v", p, p.Type, gpt.TypeKiosData)
	case slices.Contains(s.bootDisks(r, all), p.Disk):
		return nil
	}
	return s.Allow(r, p.Disk)
}

// Allow returns why no data partition may be on a disk other than the one that the
// machine booted from, or nil.
func (s System) Allow(r Rule, disk string) error {
	if err := s.local(disk); err != nil {
		return fmt.Errorf("/dev/%s %w, and takes no data partition", disk, err)
	}
	if err := s.Fixed(disk); err != nil && r.Disk != "/dev/"+disk {
		return fmt.Errorf("/dev/%s %w: such a disk takes a data partition only if kios.disk=/dev/%s on the kernel command line names it", disk, err, disk)
	}
	return nil
}

// demandNamed is for a device that the kernel command line names by its path. It needs
// no type and no table.
func (s System) demandNamed(r Rule, device string) error {
	if named := filepath.Join(s.Dev, strings.TrimPrefix(r.DataPart, "/dev")); device != named {
		return fmt.Errorf("datapart=%s on the kernel command line names another device", r.DataPart)
	}
	f, err := openBlock(device)
	if err != nil {
		return err
	}
	return f.Close()
}
