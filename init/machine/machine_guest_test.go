//go:build guest

package machine

import "testing"

func TestTheGuestIsVirtual(t *testing.T) {
	if !Virtual("/proc", "/sys") {
		t.Error("Virtual() = false in a virtual machine")
	}
}
