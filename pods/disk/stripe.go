package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kios/internal/datapart"
	"kios/internal/ext4"
)

// All disks of this instance can be one, striped by the device mapper. There is nothing on them
// but the ext4: no table, and no description of the set. The disks are fixed by the
// instance, and their order is that of their serial numbers. So after each boot, this
// service makes the device again; that it fits, the superblock on the first disk says.
//
// After a power cut while the file system is made, it has never been mounted, and is
// made again.

// chunk is what lies on one disk before the next one has its turn, in bytes. The superblock
// is in the first.
const chunk = 512 << 10

// stripes are the disks that are one.
type stripes struct {
	disks []*device
	each  int64 // bytes of each disk that are used
}

func newStripes(disks []*device) *stripes {
	t := &stripes{disks: disks, each: disks[0].size}
	for _, d := range disks {
		t.each = min(t.each, d.size)
	}
	t.each -= t.each % chunk
	return t
}

func (t *stripes) size() int64 { return t.each * int64(len(t.disks)) }

// stripe finds or makes the data partition across the given disks.
func (s *Service) stripe(ctx context.Context, w wishes, names []string) error {
	node := s.system().Stripes()
	if node == "" { // else a run before this one has made it
		t, err := s.takeAll(ctx, w, names)
		if err != nil {
			s.Log.Printf("no data partition is made: %v", err)
			return nil
		}
		if node, err = s.assemble(t); err != nil {
			return err
		}
	}
	return s.useStripes(ctx, w, node)
}

// takeAll returns the disks as stripes. They are blank, or have the stripes' file system.
func (s *Service) takeAll(ctx context.Context, w wishes, names []string) (*stripes, error) {
	if w.owner.DataPart != datapart.Auto {
		return nil, fmt.Errorf("datapart=%s on the kernel command line names another data partition", w.owner.DataPart)
	}
	var disks []*device
	for _, name := range names {
		d, err := s.block("/dev/" + name)
		if err == nil {
			err = errors.Join(d.suits(w), s.system().Allow(w.owner, d.name))
		}
		if err != nil {
			return nil, fmt.Errorf("/dev/%s: %w", name, err)
		}
		disks = append(disks, d)
	}
	t := newStripes(disks)
	found, err := s.striped(t)
	if err == nil && !found {
		err = s.clear(ctx, w, t)
	}
	return t, err
}

// striped reports whether the disks have a file system that covers all of them.
func (s *Service) striped(t *stripes) (bool, error) {
	f, err := s.open(t.disks[0], os.O_RDONLY)
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.disks[0].node(), err)
	}
	defer f.Close()
	sb, err := readSuperblock(f, 0)
	if errors.Is(err, ext4.ErrNone) {
		return false, nil
	}
	return err == nil && sb.Label == label && sb.Size() <= t.size() && sb.Blocks >= fit(sb, t.size()), err
}

// clear makes the disks blank. None is touched unless all may be.
func (s *Service) clear(ctx context.Context, w wishes, t *stripes) error {
	all := make([]*contents, len(t.disks))
	for i, d := range t.disks {
		c, err := s.probe(ctx, d)
		if err != nil {
			return onDisk(d, err)
		}
		if err := s.mayTake(d, c, w); err != nil {
			return err
		}
		all[i] = c
	}
	for i, d := range t.disks {
		s.sayWiped(d, all[i], w)
		l, err := newLayout(d)
		if err == nil {
			err = s.prepare(ctx, d, l, all[i])
		}
		if err != nil {
			return onDisk(d, err)
		}
	}
	return nil
}

// assemble makes one device of the disks.
func (s *Service) assemble(t *stripes) (string, error) {
	m, err := s.openMapper()
	if err != nil {
		return "", fmt.Errorf("make one disk of the instance's: %w", err)
	}
	defer m.control.Close()
	params, err := s.table(t)
	if err != nil {
		return "", err
	}
	return m.create(datapart.StripesName, "striped", uint64(t.size()/512), params)
}

// table is what the kernel's Documentation/admin-guide/device-mapper/striped.rst wants.
func (s *Service) table(t *stripes) (string, error) {
	words := []string{fmt.Sprint(len(t.disks)), fmt.Sprint(chunk / 512)}
	for _, d := range t.disks {
		var st unix.Stat_t
		if err := unix.Stat(s.host(d.node()), &st); err != nil {
			return "", fmt.Errorf("stat %s: %w", d.node(), err)
		}
		words = append(words, fmt.Sprintf("%d:%d 0", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	return strings.Join(words, " "), nil
}

// useStripes moves the node onto the device, and makes a file system on it before if the
// node has never been on it.
func (s *Service) useStripes(ctx context.Context, w wishes, name string) error {
	d, err := s.block("/dev/" + name)
	if err != nil {
		return err
	}
	used, err := s.used(d)
	if err != nil {
		return err
	}
	if used {
		return s.repair(ctx, d.node(), w)
	}
	if err := s.makeExt4(ctx, d, 0, d.size, newUUID()); err != nil {
		return onDisk(d, err)
	}
	s.Log.Printf("made the data partition %s of all disks of this instance, %s", d.node(), size(d.size))
	return s.move(ctx, d.node())
}

// used reports whether a device has a file system that has been mounted.
func (s *Service) used(d *device) (bool, error) {
	f, err := s.open(d, os.O_RDONLY)
	if err != nil {
		return false, onDisk(d, err)
	}
	defer f.Close()
	sb, err := readSuperblock(f, 0)
	if errors.Is(err, ext4.ErrNone) {
		return false, nil
	}
	return err == nil && sb.Label == label && sb.Used, err
}

// onDisk says which disk an error is about.
func onDisk(d *device, err error) error { return fmt.Errorf("%s: %w", d.node(), err) }
