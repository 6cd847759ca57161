package boot

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"kios/init/kmsg"
	"kios/internal/consoleline"
)

// onceLog logs each error once: files are read again whenever the kubelet is started
// again. It remembers the newest maxOnce texts. Several goroutines may use it.
type onceLog struct {
	log *kmsg.Log

	mu     sync.Mutex
	logged map[textSum]bool
	order  []textSum // the oldest first
}

const maxOnce = 256

type textSum = [sha256.Size]byte

func newOnceLog(log *kmsg.Log) *onceLog { return &onceLog{log: log, logged: map[textSum]bool{}} }

// Error logs an error unless it has been logged before.
func (o *onceLog) Error(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); o.isNew(text) {
		o.log.Error("%s", text)
	}
}

// isNew remembers a text, and reports whether it was not known.
func (o *onceLog) isNew(text string) bool {
	sum := sha256.Sum256([]byte(text))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.logged[sum] {
		return false
	}
	if len(o.order) == maxOnce {
		delete(o.logged, o.order[0])
		o.order = append(o.order[:0], o.order[1:]...)
	}
	o.logged[sum] = true
	o.order = append(o.order, sum)
	return true
}

// saidLines are the lines of the daemons that users should see. Who drains a daemon's
// output must not wait for a slow console, or the daemon waits, too. A daemon may also
// repeat what a stranger wrote, so there is a bound for all: maxSaid a minute.
type saidLines struct {
	once  *onceLog
	queue chan string

	since time.Time // the minute's beginning; used by pass alone, as is count
	count int
}

const maxSaid = 60

func newSaidLines(once *onceLog) *saidLines {
	return &saidLines{once: once, queue: make(chan string, maxSaid)}
}

// add never waits. What the queue does not take is in the daemon's log.
func (s *saidLines) add(text string) {
	select {
	case s.queue <- text:
	default:
	}
}

// run logs what was added.
func (s *saidLines) run() {
	for text := range s.queue {
		s.pass(text, time.Now())
	}
}

func (s *saidLines) pass(text string, now time.Time) {
	if now.Sub(s.since) >= time.Minute {
		s.since, s.count = now, 0
	}
	if s.count > maxSaid || !s.once.isNew(text) {
		return
	}
	if s.count++; s.count > maxSaid {
		text = "the daemons say so much that the rest of this minute is in their logs only"
	}
	if note, found := strings.CutPrefix(text, consoleline.NoteMark); found {
		s.once.log.Notice("%s", note)
		return
	}
	s.once.log.Error("%s", text)
}
