//go:build guest

package signals

import "testing"

// The same on the node's processor and kernel: the handlers are in its assembler.
func TestNothingEndsPID1InGuest(t *testing.T) { TestNothingEndsPID1(t) }
