package datapart

import (
	"time"

	"kios/internal/uevent"
)

// Uevents is the kernel's own announcement of block devices. Open it before the
// first look at the devices, and nothing can slip through between the two.
type Uevents struct{ *uevent.Socket }

// OpenUevents starts to listen.
func OpenUevents() (Uevents, error) {
	s, err := uevent.Listen()
	return Uevents{s}, err
}

// Wait returns after the next change of a block device, or after the bound.
func (u Uevents) Wait(bound time.Duration) { u.Socket.Wait("block", bound) }
