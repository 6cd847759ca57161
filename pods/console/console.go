// Package console lets a system pod say on the node's console what somebody has to know who
// cannot read the pod's log: that is in a file of the node's disk, and a node that has not
// joined its cluster has nobody to show it.
//
// The pod writes to the kernel's log, /dev/kmsg, which is where PID 1 reports, too, in the
// form of package consoleline. To open that for writing alone takes no capability, and PID 1
// has no part in it: a socket of PID 1 would be one more place where it reads what strangers
// have written. The kernel marks such records as a program's, not its own.
//
// What a pod says may come from strangers, a thousand times. A line is cut and cleaned, and
// known forms of secrets are left out: more people see a serial console than may read user
// data. The same line comes again after half an hour at the earliest, and there are some
// lines at once, and then few. A pod that starts anew begins anew: the kubelet waits for up to
// five minutes before it starts one that keeps failing.
package console

import (
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/internal/consoleline"
	"kios/internal/ratelimit"
)

const (
	maxRead = 4000 // bytes of a line that are looked at
	burst   = 40   // lines at once
	every   = 5 * time.Minute
	quiet   = 30 * time.Minute // for the same line
)

// Console is that of the node, for one pod. Several goroutines may use it; nil is one that
// nobody sees.
type Console struct {
	pod string

	mu    sync.Mutex
	to    io.Writer
	now   func() time.Duration
	limit ratelimit.Limit
	full  bool                     // the last line was one too many
	said  map[string]time.Duration // when each line may come again
}

// Open opens the kernel's log at path, for the pod of that name.
func Open(path, pod string) (*Console, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return New(f, pod), nil
}

// New writes records to a writer, each in one call.
func New(to io.Writer, pod string) *Console {
	return &Console{
		pod: pod, to: to, now: boottime.Now, said: map[string]time.Duration{},
		limit: ratelimit.Limit{Every: every, Burst: burst},
	}
}

// Error says what somebody has to correct. Each line of the text is a line of the console.
func (c *Console) Error(text string) { c.print(consoleline.LevelError, consoleline.Error, text) }

// Warn says what is left out, or what the pod waits for.
func (c *Console) Warn(text string) { c.print(consoleline.LevelWarning, consoleline.Warning, text) }

// Warnings is a writer for a log whose lines are such.
func (c *Console) Warnings() io.Writer { return warnings{c} }

type warnings struct{ *Console }

func (w warnings) Write(text []byte) (int, error) {
	w.Warn(string(text))
	return len(text), nil
}

func (c *Console) print(level int, kind consoleline.Kind, text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = consoleline.Clean(Redact(consoleline.Clean(line, maxRead)), consoleline.MaxPodText)
		if c.allows(line) {
			c.write(level, kind, line)
		}
	}
}

// allows counts a line, and says it once where the lines become too many.
func (c *Console) allows(line string) bool {
	now := c.now()
	if now < c.said[line] || line == "" {
		return false
	}
	if c.limit.Wait(now) > 0 {
		if !c.full {
			c.write(consoleline.LevelWarning, consoleline.Warning, "more lines are in the pod's log only")
		}
		c.full = true
		return false
	}
	c.full = false
	if len(c.said) >= burst {
		clear(c.said)
	}
	c.said[line] = now + quiet
	return true
}

// write drops an error: there is no other place to report it to.
func (c *Console) write(level int, kind consoleline.Kind, text string) {
	text = consoleline.Format(consoleline.Line{Kind: kind, Text: consoleline.PodPrefix + c.pod + ": " + text})
	_, _ = io.WriteString(c.to, consoleline.Record(level, text))
}
