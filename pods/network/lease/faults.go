package lease

import (
	"fmt"
	"slices"
	"strings"
)

const mostFaults = 8 // that are mentioned

// Faults are what of a lease is of no use. The rest of the lease is used.
type Faults []string

// Add adds one.
func (f *Faults) Add(format string, args ...any) {
	if len(*f) < mostFaults {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

// Mention logs what of a lease is of no use, unless that is what it was before: a
// lease is renewed again and again.
func (c *Client[S, L]) Mention(server string, faults Faults) {
	if len(faults) > 0 && !slices.Equal(faults, c.faults) {
		c.Log("not all that %s says can be used: %s", server, strings.Join(faults, "; "))
	}
	c.faults = faults
}
