package network

import (
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// FuzzOwnAddress feeds what the kernel says about an address. The kernel pads it.
func FuzzOwnAddress(f *testing.F) {
	f.Add([]byte{8, 0, unix.IFA_ADDRESS, 0, 10, 0, 0, 1, 5, 0, ifaProto, 0, protocol, 0, 0, 0}, 24)
	f.Add([]byte{20, 0, unix.IFA_ADDRESS, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, ifaProto, 0, protocol, 0, 0, 0}, 64)
	f.Fuzz(func(t *testing.T, raw []byte, length int) {
		raw = raw[:len(raw)&^3]
		took := lab.Allocated(func() {
			if p, own := ownAddress(raw, length); own && !p.Addr().IsValid() {
				t.Errorf("the address %s", p)
			}
		})
		if took > 64<<10+32*uint64(len(raw)) {
			t.Errorf("%d bytes became %d", len(raw), took)
		}
	})
}
