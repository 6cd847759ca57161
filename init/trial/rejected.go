package trial

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"kios/internal/wholefile"
)

// Rejections is the file that tells others what is not used: an object with a Rejection
// for each daemon that runs without files of the user's. It is safe for use by several
// goroutines.
type Rejections struct {
	path string

	mu      sync.Mutex
	daemons map[string]*Rejection
}

// NewRejections returns one that writes to path, whose directory must exist by then.
// The file is there once there was something to write.
func NewRejections(path string) *Rejections {
	return &Rejections{path: path, daemons: map[string]*Rejection{}}
}

// Set writes what a daemon is started without.
func (r *Rejections) Set(daemon string, rejection *Rejection) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.daemons[daemon] = rejection
	return r.write()
}

// Clear removes the entry of a daemon, and reports whether there was one.
func (r *Rejections) Clear(daemon string) (was bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.daemons[daemon] == nil {
		return false, nil
	}
	delete(r.daemons, daemon)
	return true, r.write()
}

func (r *Rejections) write() error {
	text, err := json.MarshalIndent(r.daemons, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Volatile(r.path, append(text, '\n'), 0o600)
}

// Bounds of a sentence, so that it is one record of the kernel's log.
const (
	maxNamed = 4
	maxName  = 100 // bytes
	maxCause = 300 // bytes
)

// Sentence says what happened to the files of a daemon, and what to do.
func (r *Rejection) Sentence(daemon string) string {
	what, used := "", "without"
	if r.Using == GoodFiles {
		what, used = "the changes of ", "with the files as they were before"
	}
	return fmt.Sprintf("%s does not work with %s%s (%s): it starts %s; correct that, then restart the node",
		daemon, what, r.named(), clip(r.Error, maxCause), used)
}

func (r *Rejection) named() string {
	var names []string
	for _, name := range r.Files[:min(len(r.Files), maxNamed)] {
		names = append(names, clip(name, maxName))
	}
	text := strings.Join(names, ", ")
	if more := len(r.Files) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "..."
}
