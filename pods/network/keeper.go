package network

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"time"

	"kios/internal/boottime"
	"kios/internal/ratelimit"
	"kios/internal/wholefile"
)

// keeper keeps a copy of a file on the data partition, for the next boot. It writes in
// the background, because a disk may be slow or hang, and no lease may wait for that;
// and seldom, because what routers say can change many times in a second.
type keeper struct {
	log  *log.Logger
	path string
	cost string // of a copy that cannot be written, for messages
	news chan string
	pace ratelimit.Limit
	done chan struct{} // closed when run has ended
}

func newKeeper(log *log.Logger, path, cost string) *keeper {
	return &keeper{log, path, cost, make(chan string, 1), ratelimit.Limit{Every: time.Minute, Burst: 3}, make(chan struct{})}
}

// keep makes the copy have the text. It never waits. Only one goroutine at a time may
// call it.
func (k *keeper) keep(text string) {
	select {
	case <-k.news: // not written yet
	default:
	}
	k.news <- text
}

// run writes until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-k.news:
			if err := k.write(text); err != nil {
				k.log.Printf("%s: %v", k.cost, err)
			}
		}
		for wait := k.pace.Wait(boottime.Now()); wait > 0; wait = k.pace.Wait(boottime.Now()) {
			if !sleep(ctx, wait) {
				return
			}
		}
	}
}

// write lets the copy outlive a power cut, unlike what is written elsewhere: that is when
// the next boot needs it.
func (k *keeper) write(text string) error {
	if holds(k.path, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
		return err
	}
	return wholefile.Durable(k.path, []byte(text), 0o644)
}

// sleep reports whether ctx goes on after so long.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
