package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel's include/uapi/linux/dm-ioctl.h defines. Needs CAP_SYS_ADMIN.
const (
	dmCreate  = 0xc138fd03 // _IOWR(0xfd, 3, struct dm_ioctl)
	dmRemove  = 0xc138fd04
	dmSuspend = 0xc138fd06 // and resume, which puts a new table into force
	dmLoad    = 0xc138fd09
)

type dmHeader struct {
	Version     [3]uint32
	DataSize    uint32 // of all that is passed
	DataStart   uint32 // where targets begin
	TargetCount uint32
	OpenCount   int32
	Flags       uint32
	EventNr     uint32
	_           uint32
	Dev         uint64
	Name        [128]byte
	UUID        [129]byte
	_           [7]byte
}

type dmTarget struct {
	Start, Length uint64 // sectors of 512 bytes
	Status        int32
	Next          uint32
	Type          [16]byte
}

const (
	dmHeaderSize = 312
	dmTargetSize = 40
)

// dmRequest is a request about the device of a name, with at most one target.
func dmRequest(name string, target *dmTarget, params string) []byte {
	h := dmHeader{Version: [3]uint32{4, 0, 0}, DataSize: dmHeaderSize, DataStart: dmHeaderSize}
	copy(h.Name[:len(h.Name)-1], name)
	var tail []byte
	if target != nil {
		h.TargetCount = 1
		// The parameters end with a zero, and the next target would be aligned to 8 bytes.
		padded := params + strings.Repeat("\x00", 8-len(params)%8)
		tail, _ = binary.Append(nil, binary.NativeEndian, target) // of fixed size, so it never fails
		tail = append(tail, padded...)
		h.DataSize += uint32(len(tail))
	}
	request, _ := binary.Append(nil, binary.NativeEndian, &h)
	return append(request, tail...)
}

// mapper is the device through which devices are made of others.
type mapper struct{ control *os.File }

func (s *Service) openMapper() (mapper, error) {
	f, err := os.OpenFile(filepath.Join(s.Dev, "mapper/control"), os.O_RDWR, 0)
	return mapper{f}, err
}

func (m mapper) do(request uintptr, arg []byte) error {
	return ioctl(m.control, request, unsafe.Pointer(&arg[0]))
}

// create makes a device of one target, and returns the kernel's name of it.
func (m mapper) create(name, kind string, sectors uint64, params string) (string, error) {
	made := dmRequest(name, nil, "")
	if err := m.do(dmCreate, made); err != nil {
		return "", fmt.Errorf("make the device %s: %w", name, err)
	}
	target := &dmTarget{Length: sectors}
	copy(target.Type[:], kind)
	err := m.do(dmLoad, dmRequest(name, target, params))
	if err == nil {
		err = m.do(dmSuspend, dmRequest(name, nil, ""))
	}
	if err != nil {
		_ = m.remove(name) // without a table it is of no use
		return "", fmt.Errorf("make the device %s (%s %s): %w (the kernel's log has the reason)", name, kind, params, err)
	}
	var h dmHeader
	if err := binary.Read(bytes.NewReader(made), binary.NativeEndian, &h); err != nil {
		return "", err
	}
	return fmt.Sprintf("dm-%d", unix.Minor(h.Dev)), nil
}

func (m mapper) remove(name string) error { return m.do(dmRemove, dmRequest(name, nil, "")) }
