// Package watch waits until files are as somebody wants them.
package watch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long nothing must have changed before the files are read: whoever
// writes one file often writes more, and one look should do for all of them.
const settle = time.Second

// Until calls done, and again after each change of the files, until it returns true.
// Files names them, and is asked before each look, since they may name others. They
// need not be there. Until returns false when the context ends, or when it cannot
// watch; it says the second.
func Until(ctx context.Context, files func() []string, done func() bool, say func(format string, args ...any)) bool {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		say("changes of %v are not noticed: %v", files(), err)
		return false
	}
	defer w.Close()
	for {
		addAll(w, files(), say)
		// Also what has changed before the watch.
		if done() {
			return true
		}
		addAll(w, files(), say)
		if !quiet(ctx, w) {
			return false
		}
	}
}

// addAll watches the directories of the files, or what there is above them.
// A directory that is watched already stays so.
func addAll(w *fsnotify.Watcher, files []string, say func(format string, args ...any)) {
	for _, path := range files {
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
