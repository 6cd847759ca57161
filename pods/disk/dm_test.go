package disk

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

// The kernel refuses other sizes, and its numbers of requests contain one.
func TestDMRequest(t *testing.T) {
	if got := unsafe.Sizeof(dmHeader{}); got != dmHeaderSize || binary.Size(dmHeader{}) != dmHeaderSize || dmCreate>>16&0x3fff != dmHeaderSize {
		t.Errorf("a header has %d bytes, want %d", got, dmHeaderSize)
	}
	if got := unsafe.Sizeof(dmTarget{}); got != dmTargetSize || binary.Size(dmTarget{}) != dmTargetSize {
		t.Errorf("a target has %d bytes, want %d", got, dmTargetSize)
	}
	for _, params := range []string{"", "1234567", "12345678", "2 1024 259:0 0 259:1 0"} {
		request := dmRequest("name", &dmTarget{Length: 7}, params)
		size := binary.NativeEndian.Uint32(request[12:])
		if int(size) != len(request) || len(request)%8 != 0 || request[len(request)-1] != 0 {
			t.Errorf("%q: %d bytes, the header says %d, and the last is %d", params, len(request), size, request[len(request)-1])
		}
		if got := string(request[dmHeaderSize+dmTargetSize:][:len(params)]); got != params {
			t.Errorf("the parameters are %q, want %q", got, params)
		}
	}
}
