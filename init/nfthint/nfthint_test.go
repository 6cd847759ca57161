package nfthint

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcknowledged(t *testing.T) {
	answer := func(code int32) []byte {
		c := uint32(code)
		return message(unix.NLMSG_ERROR, 0, []byte{byte(c), byte(c >> 8), byte(c >> 16), byte(c >> 24)}, make([]byte, 16))
	}
	if n, err := acknowledged(append(answer(0), answer(0)...)); n != 2 || err != nil {
		t.Errorf("two successes = %d, %v", n, err)
	}
	if _, err := acknowledged(append(answer(0), answer(-int32(unix.EPERM))...)); !errors.Is(err, unix.EPERM) {
		t.Errorf("a refusal = %v", err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 10), make([]byte, 100), answer(0)[:18]} {
		if _, err := acknowledged(bad); err == nil {
			t.Errorf("acknowledged(%d bytes) succeeds", len(bad))
		}
	}
}

func TestAttributeIsPadded(t *testing.T) {
	for _, value := range []string{"", "a", "abc", "abcd"} {
		if b := attribute(1, value); len(b)%4 != 0 || len(b) < 4+len(value)+1 {
			t.Errorf("attribute(%q) has %d bytes", value, len(b))
		}
	}
}
