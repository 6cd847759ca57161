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
		device, err := s.chooseNamed(r, all)
		found.Device = device
		return found, err
	}
	boot, err := s.bootDisk(r, all)
	if err != nil {
		return found, err
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

// chooseNamed picks the partition that is named by its GUID.
func (s System) chooseNamed(r Rule, all survey) (string, error) {
	copies, err := all.withGUID(r.DataPart)
	if err != nil || len(copies) == 0 {
		return "", err
	}
	candidates := s.original(r, copies, all)
	if len(candidates) == 0 {
		return "", fmt.Errorf("%s is not where firmware booted from, and the disk there is missing or cannot be read: it may be a copy; check the disks, or name the partition with datapart=/dev/NAME on the kernel command line", copies[0])
	}
	device, err := one(candidates)
	return device, errors.Join(err, s.unreadNamed(r, candidates, all))
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
	p := candidates[0]
	if slices.Contains(boot, p.Disk) {
		return s.unreadNamed(r, candidates, all)
	}
	for _, problem := range all.problems {
		if r.Disk == Auto && s.Fixed(problem.Disk) == nil || r.knowsBoot() && len(boot) == 0 {
			return mistakable(p, problem)
		}
	}
	return nil
}

// unreadNamed is unread for what is identified by a GUID. That can be copied, but if
// firmware does not say where it booted from, it is all there is: then a dead disk must
// not keep a node from its data.
func (s System) unreadNamed(r Rule, candidates []Partition, all survey) error {
	p := candidates[0]
	if !r.Path.known() || s.fits(r.Path, p.Disk) == confirmed {
		return nil
	}
	for _, problem := range all.problems {
		if problem.Disk != p.Disk {
			return mistakable(p, problem)
		}
	}
	return nil
}

func mistakable(p Partition, other Problem) error {
	return fmt.Errorf("%s could be the data partition, but so could one on a disk that cannot be read (%w): repair or remove that disk, or name the partition with datapart=/dev/NAME on the kernel command line", p, other)
}

// bootDisk is bootDisks, with an error if nobody knows which one it was.
func (s System) bootDisk(r Rule, all survey) (boot []string, err error) {
	boot, copies := s.bootDisks(r, all)
	switch {
	case len(boot) > 1:
		return nil, fmt.Errorf("the disks %s all have the partition %v, from which the machine booted: remove the copies, or name the data partition with datapart=/dev/NAME on the kernel command line", strings.Join(boot, " and "), r.Boot)
	case len(boot) == 0 && len(copies) > 0:
		return nil, fmt.Errorf("%s has the partition %v, from which the machine booted, but firmware booted from another place (%s): it is a copy; check the disk there, or name the data partition with datapart= on the kernel command line", strings.Join(copies, " and "), r.Boot, strings.Join(r.Path.slots, "/"))
	}
	return boot, nil
}

// bootDisks returns the disk that the machine booted from, or those of which it could be
// any, and the copies that hang elsewhere.
func (s System) bootDisks(r Rule, all survey) (disks, copies []string) {
	for _, p := range all.partitions {
		if r.knowsBoot() && p.GUID == r.Boot && !slices.Contains(disks, p.Disk) {
			disks = append(disks, p.Disk)
		}
	}
	if on := s.fitting(r.Path, confirmed, disks); len(on) > 0 {
		return on, nil
	}
	return s.fitting(r.Path, possible, disks), s.fitting(r.Path, contradicts, disks)
}

// original returns the partitions that could be meant, of those that have the GUID: the
// one on the disk which firmware booted from, if there is one. Another disk may be meant as
// well, but only if that disk could be read.
func (s System) original(r Rule, copies []Partition, all survey) []Partition {
	keep := func(ok func(fit) bool) []Partition {
		return slices.DeleteFunc(slices.Clone(copies), func(p Partition) bool { return !ok(s.fits(r.Path, p.Disk)) })
	}
	if on := keep(func(f fit) bool { return f == confirmed }); len(on) > 0 {
		return on
	}
	if s.bootDeviceRead(r.Path, all) {
		return copies
	}
	return keep(func(f fit) bool { return f == possible })
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
	if name := s.Stripes(); name != "" && device == filepath.Join(s.Dev, name) {
		return s.demandStripes(r, name)
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
	}
	return s.demandOriginal(r, p, all)
}

// demandOriginal refuses a partition on a copy of the disk that the machine booted from:
// whoever asks cannot tell the two apart.
func (s System) demandOriginal(r Rule, p Partition, all survey) error {
	boot, _ := s.bootDisks(r, all)
	switch {
	case len(boot) == 1 && boot[0] == p.Disk:
		return s.unreadNamed(r, []Partition{p}, all)
	case r.knowsBoot() && all.has(p.Disk, r.Boot):
		return fmt.Errorf("/dev/%s has the partition %v, from which the machine booted, and may be a copy of that disk: remove the copy", p.Disk, r.Boot)
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
