package joining

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long nothing must have changed before the files are read: whoever
// writes one file often writes more, and one restart should do for all of them.
const settle = time.Second

// Watch returns what the files amount to, as soon as that is better than m, with
// which the kubelet was started: the node can join, or it waits for a certificate
// and has got other credentials to ask with. It returns false at once for a node
// that is in its cluster and needs no restart.
func (f Files) Watch(ctx context.Context, m Membership, node string, say Say) (Membership, bool) {
	if m.settled() {
		return m, false
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		say("a new kubeconfig is not noticed before the kubelet starts again: %v", err)
		return m, false
	}
	defer w.Close()
	now := m
	for {
		f.watchAll(w, now, say)
		// Also what has changed before the watch.
		now = f.read(node, say)
		switch {
		case now.betters(m):
			return now, true
		case m.Waiting && now.settled():
			return now, false // the kubelet has got its certificate
		}
		f.watchAll(w, now, say)
		if !quiet(ctx, w) {
			return m, false
		}
	}
}

// settled reports whether the node has all that it needs to be in its cluster.
func (m Membership) settled() bool { return m.Server != "" && !m.Waiting }

// betters reports whether a kubelet that was started with old is to start again.
func (m Membership) betters(old Membership) bool {
	switch {
	case m.Server == "":
		return false
	case old.Server == "", m.ready && !old.ready:
		return true
	}
	return m.Waiting && m.secret != old.secret
}

// Once says each sentence one time: files are read again and again. It is for one
// goroutine at a time.
func (say Say) Once() Say {
	said := map[string]bool{}
	return func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			say("%s", text)
		}
	}
}

// watchAll watches the directories of the files, or what there is above them.
// A directory that is watched already stays so.
func (f Files) watchAll(w *fsnotify.Watcher, m Membership, say Say) {
	for _, path := range append([]string{f.Kubeconfig, f.Bootstrap}, m.refs...) {
		if !filepath.IsAbs(path) {
			continue
		}
		dir := filepath.Dir(path)
		for dir != "/" {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			dir = filepath.Dir(dir)
		}
		if err := w.Add(dir); err != nil {
			say("changes in %s are not noticed: %v", dir, err)
		}
	}
}

// quiet waits for a change, and then until there is none for a while.
func quiet(ctx context.Context, w *fsnotify.Watcher) bool {
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-settled:
			return true
		case <-w.Errors: // events were lost: look
			settled = time.After(settle)
		case e := <-w.Events:
			if e.Op != fsnotify.Chmod {
				settled = time.After(settle)
			}
		}
	}
}
