// Package trial decides with which files of the user's a daemon starts: with those in
// /etc, or, if it does not stay up with them, with the last ones with which it did, or
// else with none. So no file can keep a node down.
//
//	            three failures              three failures
//	files of /etc ---------> last good files ---------> no files
//	      ^                                                |
//	      +------------------------------------------------+
//	        three failures: the files are not to blame
//
// A set of files is in trial until the daemon has been ready with it for a minute; then
// it is kept as the last good one. A failure is an end of the daemon before that, or
// that it is not ready within a bound. Rejected files are tried again when one of them
// has changed at a start, when somebody asks for a restart, and at the next boot. Files
// that change at every start do not keep a node down either: see maxRow.
//
// It leaves out what the files mean, and when a daemon is ready: the caller tells it.
package trial

import (
	"sync"
	"time"
)

const (
	maxFailures = 3 // with the same files
	maxRow      = 6 // in a row, though the files changed in between
)

// Using says which files a start is made with.
type Using string

// What a daemon can start with. The values are part of rejected.json.
const (
	UserFiles Using = "files of /etc"
	GoodFiles Using = "last good files"
	NoFiles   Using = "no files"
)

// Trial is that of one daemon. It is safe for use by several goroutines.
type Trial struct {
	sources Sources
	store   Store
	etc     string // "/etc"
	none    string // an empty directory

	mu       sync.Mutex
	good     Set  // that was kept last; without contents
	unsaved  bool // the data partition has not got it
	now      Set  // as it was at the last start; with contents until the verdict
	using    Using
	failures int // with what is used, since it was judged last
	row      int // of whatever, since the last verdict in favour
	cause    string
	start    int  // counts the starts
	proven   bool // the verdict about this start is in its favour
	blurred  bool // the files changed while the daemon started
}

// New returns the Trial of a daemon that reads its files below etc, and an error if
// what was kept earlier is lost, which does not matter to a start. The directory none
// is empty.
func New(sources Sources, store Store, etc, none string) (*Trial, error) {
	good, err := store.Load()
	return &Trial{sources: sources, store: store, etc: etc, none: none, good: good, now: Set{}, using: UserFiles}, err
}

// Start is what a daemon starts with.
type Start struct {
	Number int    // of the start, for Ready, Prove, Fail and Reject
	Etc    string // the directory, laid out as /etc is
	Using  Using
	// Rejection, if not nil, says which files are given up by this start.
	Rejection *Rejection
	// Exhausted says that the daemon failed with whatever it was given, the last time
	// because of Cause. All begins anew.
	Exhausted bool
	Cause     string
	// Odd has a sentence for each file that cannot be kept.
	Odd []string
}

// Rejection is about files that a daemon is started without.
type Rejection struct {
	Files []string  `json:"files"` // that differ from those that are used, as paths in /etc
	Error string    `json:"error"`
	Using Using     `json:"using"`
	Since time.Time `json:"since"`
}

// Next decides about the next start. It is called before each.
func (t *Trial) Next() Start {
	read := t.sources.Read(t.etc)
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := !read.Equal(t.now)
	t.now, t.blurred, t.proven = read, false, false
	t.start++
	if changed && t.row < maxRow {
		t.using, t.failures = UserFiles, 0
	}
	s := Start{Number: t.start, Odd: read.Odd(), Cause: t.cause}
	before := t.using
	if t.failures >= maxFailures || t.using == UserFiles && t.row >= maxRow {
		s.Exhausted = t.giveUp()
	}
	s.Using, s.Etc = t.using, t.directory()
	if t.using != UserFiles {
		t.now = t.now.withoutContents() // it will not be kept
	}
	if t.using != before && !s.Exhausted {
		s.Rejection = t.rejection()
	}
	return s
}

// giveUp goes on to what is to be used next, and reports whether that is the user's
// files again.
func (t *Trial) giveUp() (exhausted bool) {
	t.failures = 0
	switch {
	case t.using == UserFiles && len(t.good) > 0 && !t.good.Equal(t.now):
		t.using = GoodFiles
	case t.using != NoFiles && len(t.now) > 0:
		t.using = NoFiles
	default:
		t.using, t.row = UserFiles, 0
		return true
	}
	return false
}

func (t *Trial) directory() string {
	switch t.using {
	case GoodFiles:
		return t.store.Dir
	case NoFiles:
		return t.none
	}
	return t.etc
}

func (t *Trial) rejection() *Rejection {
	used := Set{}
	if t.using == GoodFiles {
		used = t.good
	}
	files := t.now.Differing(used)
	for i, name := range files {
		files[i] = "/etc/" + name
	}
	return &Rejection{Files: files, Error: t.cause, Using: t.using, Since: time.Now().UTC().Truncate(time.Millisecond)}
}

// Ready tells that the daemon of a start is ready: it has read its files. If they are
// not any more what Next has read, nobody knows which it read, and they are not kept.
func (t *Trial) Ready(number int) {
	read := t.sources.Read(t.etc)
	t.mu.Lock()
	defer t.mu.Unlock()
	if number == t.start && !read.Equal(t.now) {
		t.blurred = true
	}
}

// Prove ends the trial of a start in favour of what it uses, and keeps the files. It
// reports whether these are those in /etc.
func (t *Trial) Prove(number int) (userFiles bool, err error) {
	set, userFiles := t.prove(number)
	if set == nil {
		return userFiles, nil
	}
	err = t.store.Save(set) // without the lock: a disk may hang
	t.mu.Lock()
	defer t.mu.Unlock()
	t.good, t.unsaved = set.withoutContents(), err != nil
	if err != nil {
		t.good = t.store.fromDir().withoutContents() // what a start can have, whatever that is
	}
	return userFiles, err
}

// prove returns what is to be kept, or nil.
func (t *Trial) prove(number int) (keep Set, userFiles bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number != t.start || t.proven {
		return nil, false
	}
	t.proven, t.failures, t.row = true, 0, 0
	set := t.now
	t.now = t.now.withoutContents()
	if t.using != UserFiles {
		return nil, false
	}
	if t.blurred || len(set.Odd()) > 0 || set.Equal(t.good) && !t.unsaved {
		return nil, true
	}
	return set, true
}

// Fail tells that the daemon of the last start ended, or was ended because it hung.
// That is no failure once the start is proven.
func (t *Trial) Fail(cause string) { t.fail(cause, 1) }

// Reject is Fail for a daemon that runs, but not as it should: that will not change
// when it is started with the same files twice more. It reports whether the number is
// that of the last start.
func (t *Trial) Reject(number int, cause string) bool {
	t.mu.Lock()
	is := number == t.start && !t.proven
	t.mu.Unlock()
	if is {
		t.fail(cause, maxFailures)
	}
	return is
}

func (t *Trial) fail(cause string, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proven || t.start == 0 {
		return
	}
	t.failures += count
	t.row++
	t.cause = cause
}

// Renew makes the next start another trial of the files in /etc.
func (t *Trial) Renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.using, t.failures, t.row = UserFiles, 0, 0
}

// Suspicion tells how likely the files that are used now are to be the reason that a
// node with a daemon that seems well does not do what it should.
type Suspicion int

// The degrees of suspicion.
const (
	Innocent Suspicion = iota // none are used, or they are proven in this start
	Trusted                   // they were good once
	Suspect                   // they were never good
)

// Suspicion returns that of the last start.
func (t *Trial) Suspicion() Suspicion {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.proven || t.using == NoFiles || t.using == UserFiles && len(t.now) == 0:
		return Innocent
	case t.using == GoodFiles || t.now.Equal(t.good):
		return Trusted
	}
	return Suspect
}
