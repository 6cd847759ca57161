package bounded

import (
	"errors"
	"fmt"
)

// maxMistakes is more than a person corrects at once.
const maxMistakes = 32

// Mistakes joins errors up to a bound: a text of 1 MiB has room for half a million.
type Mistakes struct {
	list []error
	more int
}

// Add adds an error, unless it is nil.
func (m *Mistakes) Add(err error) {
	switch {
	case err == nil:
	case len(m.list) < maxMistakes:
		m.list = append(m.list, err)
	default:
		m.more++
	}
}

// Err returns all of them as one, or nil for none.
func (m *Mistakes) Err() error {
	if m.more > 0 {
		return errors.Join(append(m.list, fmt.Errorf("there are %d more mistakes", m.more))...)
	}
	return errors.Join(m.list...)
}
