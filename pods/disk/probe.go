package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"kios/internal/ext4"
	"kios/internal/gpt"
)

const mib = 1 << 20

// contents is what a disk holds.
type contents struct {
	found string // for people; "" for a blank disk
	// unfinished is a file system that a former run made, and completed, before
	// it was interrupted while it wrote the table.
	unfinished *ext4.Superblock
	// data says that there is a data partition, or what is left of one.
	data bool
	// noise says that nothing knows what it is: there is no signature.
	noise bool
}

func (c *contents) blank() bool { return c.found == "" }

// probe finds out what is on a disk, as its only user. A disk is blank if its
// first and last MiB are zero, and if libblkid finds nothing on it: neither at its
// start or end, nor where the first partition of most disks begins, because a
// partition's table may be lost.
func (s *Service) probe(ctx context.Context, d *device) (*contents, error) {
	f, err := s.open(d, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	edges, err := readEdges(f, d)
	if err != nil {
		return nil, err
	}
	if c := ours(f, d, edges); c != nil {
		return c, nil
	}
	c := &contents{}
	if c.found, c.data, err = s.signatures(ctx, d, f); err != nil || c.found != "" {
		return c, err
	}
	if c.found, err = s.lostPartition(ctx, d); err != nil || c.found != "" {
		return c, err
	}
	c.found = edges.describe()
	c.noise = c.found != ""
	return c, nil
}

// edges is what lies before and behind a data partition that covers the disk.
type edges struct {
	layout *layout
	head   []byte // the first MiB
	tail   []byte // at least the last MiB
	tailAt int64
}

func readEdges(f *os.File, d *device) (*edges, error) {
	l, err := newLayout(d)
	if err != nil {
		return nil, err
	}
	at := min(l.end(), d.size-mib)
	e := &edges{l, make([]byte, mib), make([]byte, d.size-at), at}
	if _, err := f.ReadAt(e.head, 0); err != nil {
		return nil, fmt.Errorf("read the start of %s: %w", d.node(), err)
	}
	if _, err := f.ReadAt(e.tail, at); err != nil {
		return nil, fmt.Errorf("read the end of %s: %w", d.node(), err)
	}
	return e, nil
}

func (e *edges) describe() string {
	switch {
	case !zero(e.head):
		return "data of an unknown kind in its first MiB"
	case !zero(e.tail):
		return "data of an unknown kind in its last MiB"
	}
	return ""
}

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// ours recognises what a former run left when it was interrupted, and the lost
// table of a data partition. It returns nil for a disk that is neither.
func ours(f *os.File, d *device, e *edges) *contents {
	sb, err := readSuperblock(f, partitionStart)
	if err != nil || sb.Label != label {
		return nil
	}
	if zero(e.head) && zero(e.tail[e.layout.end()-e.tailAt:]) {
		if sb.Used {
			return &contents{found: "the file system of a kiOS data partition at 1 MiB, whose partition table is lost", data: true}
		}
		return &contents{} // mke2fs may have been interrupted, so again
	}
	if e.partlyWritten(sb) {
		return &contents{unfinished: sb}
	}
	return nil
}

// partlyWritten reports whether there is nothing on the disk's edges but some of
// the sectors of the table that belongs to the file system.
func (e *edges) partlyWritten(sb *ext4.Superblock) bool {
	patches, err := e.layout.table(sb.UUID).Patches()
	if err != nil {
		return false
	}
	want := &edges{head: make([]byte, len(e.head)), tail: make([]byte, len(e.tail)), tailAt: e.tailAt}
	for _, p := range patches {
		at := int64(p.LBA) * e.layout.sectorSize
		if at < mib {
			copy(want.head[at:], p.Data)
		} else {
			copy(want.tail[at-e.tailAt:], p.Data)
		}
	}
	skip := e.layout.end() - e.tailAt // what belongs to the file system
	return partOf(e.head, want.head, e.layout.sectorSize) && partOf(e.tail[skip:], want.tail[skip:], e.layout.sectorSize)
}

// partOf reports whether each sector of b is zero or as wanted.
func partOf(b, want []byte, sectorSize int64) bool {
	for at := int64(0); at < int64(len(b)); at += sectorSize {
		end := min(at+sectorSize, int64(len(b)))
		if !zero(b[at:end]) && !bytes.Equal(b[at:end], want[at:end]) {
			return false
		}
	}
	return true
}

// signature is one of those that wipefs lists.
type signature struct {
	Type, Label string
}

// list returns the signatures that libblkid finds on the whole disk.
func (s *Service) list(ctx context.Context, d *device) ([]signature, error) {
	out, said, code, err := run(ctx, wipefs, "--no-act", "--json", s.host(d.node()))
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("wipefs cannot read %s: %s", d.node(), oneLine(said))
	}
	if strings.TrimSpace(out) == "" {
		return nil, nil
	}
	var list struct{ Signatures []signature }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read the output of wipefs: %w", err)
	}
	return list.Signatures, nil
}

// signatures describes what libblkid finds on the whole disk, and says whether a
// data partition is among it.
func (s *Service) signatures(ctx context.Context, d *device, f *os.File) (found string, data bool, err error) {
	list, err := s.list(ctx, d)
	if err != nil {
		return "", false, err
	}
	var texts []string
	for _, sig := range list {
		text := sig.describe()
		switch sig.Type {
		case "gpt":
			text, data = describeGPT(f, d)
		case "dos":
			text = describeMBR(f)
		case "PMBR": // belongs to a GPT, or is left of one
			text = "the protective MBR of a GPT"
			if len(list) > 1 {
				continue
			}
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " and "), data, nil
}

// names tells what people call the types of libblkid.
var names = map[string]string{
	"LVM2_member":       "an LVM2 physical volume",
	"crypto_LUKS":       "a LUKS encrypted volume",
	"linux_raid_member": "a member of a Linux software RAID",
	"isw_raid_member":   "a member of an Intel RAID",
	"ddf_raid_member":   "a member of a RAID (DDF)",
	"swap":              "swap space",
	"zfs_member":        "a member of a ZFS pool",
	"bcache":            "a bcache device",
	"BitLocker":         "a BitLocker encrypted volume",
	"ceph_bluestore":    "a Ceph OSD",
	"LVM1_member":       "an LVM1 physical volume",
	"atari":             "an Atari partition table",
	"mac":               "an Apple partition table",
	"sun":               "a Sun partition table",
	"bsd":               "a BSD disk label",
	"ntfs":              "an NTFS file system",
	"vfat":              "a FAT file system",
	"xfs":               "an XFS file system",
	"ext2":              "an ext2 file system",
	"ext3":              "an ext3 file system",
	"ext4":              "an ext4 file system",
}

func (sig signature) describe() string {
	text, known := names[sig.Type]
	if !known {
		text = "a signature of " + sig.Type
	}
	if sig.Label != "" {
		text += fmt.Sprintf(" %q", sig.Label)
	}
	return text
}

func describeGPT(f *os.File, d *device) (text string, data bool) {
	table, err := gpt.Read(f, d.sectorSize, uint64(d.size/d.sectorSize))
	if errors.Is(err, gpt.ErrNoTable) {
		return "a GPT of a disk with other sectors or of another size", false
	}
	if err != nil {
		return fmt.Sprintf("a damaged GPT (%v)", err), false
	}
	var parts []string
	for _, p := range table.Partitions {
		data = data || p.Type == gpt.TypeKiosData
		name := fmt.Sprintf("%d", p.Number)
		if p.Name != "" {
			name += fmt.Sprintf(" %q", p.Name)
		}
		parts = append(parts, name+" "+size(int64(p.Sectors())*d.sectorSize))
	}
	if len(parts) == 0 {
		return "a GPT without partitions", data
	}
	return fmt.Sprintf("a GPT with %s: %s", count(len(parts)), strings.Join(parts, ", ")), data
}

func describeMBR(f *os.File) string {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, 0); err != nil {
		return "an MBR"
	}
	used := 0
	for entry := range slices.Chunk(b[446:510], 16) {
		if entry[4] != 0 && binary.LittleEndian.Uint32(entry[12:]) != 0 {
			used++
		}
	}
	return "an MBR with " + count(used)
}

func count(partitions int) string {
	if partitions == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", partitions)
}

// lostPartition looks where the first partition begins on most disks.
func (s *Service) lostPartition(ctx context.Context, d *device) (string, error) {
	const nothing, several = 2, 8
	out, said, code, err := run(ctx, blkid, "--probe", "--offset", fmt.Sprint(partitionStart), "--output", "export", s.host(d.node()))
	switch {
	case err != nil:
		return "", err
	case code == nothing:
		return "", nil
	case code == several:
		return "several signatures at 1 MiB", nil
	case code != 0:
		return "", fmt.Errorf("blkid cannot read %s: %s", d.node(), oneLine(said))
	}
	return parseExport(out).describe() + " at 1 MiB, perhaps a partition whose table is lost", nil
}

// parseExport reads what blkid writes with --output export.
func parseExport(out string) (sig signature) {
	for line := range strings.Lines(out) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "TYPE":
			sig.Type = value
		case "PTTYPE":
			if sig.Type == "" {
				sig.Type = value
			}
		case "LABEL":
			sig.Label = value
		}
	}
	return sig
}
