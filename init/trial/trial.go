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
// A set of files is in trial until the daemon has been ready with it for a minute, and
// has started a container; then it is kept as the last good one. A failure is an end of
// the daemon before that, or that it is not ready within a bound. Rejected files are
// tried again when one of them has changed at a start, when somebody asks for a restart,
// and at the next boot. Files that change at every start do not keep a node down either:
// see maxRow.
//
// Files that were good once are more likely to fail for a reason outside of them, such
// as a full disk, which goes: their failures must span some time, and the caller has
// them tried Again some time after they were given up.
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

// usualSpan is Trial.Span but in tests.
const usualSpan = 2 * time.Minute

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
	// Span is what the failures of files that were good once span at least before they
	// are given up.
	Span time.Duration

	sources Sources
	store   Store
	etc     string // "/etc"
	none    string // an empty directory

	mu       sync.Mutex
	good     Set  // that was kept last; without contents
	unsaved  bool // the data partition has not got it
	now      Set  // as it was at the last start; with contents until the verdict
	using    Using
	told     Using // of what the last Rejection was, or UserFiles
	failures int   // with what is used, since it was judged last
	row      int   // of whatever, since the last verdict in favour
	cause    string
	first    time.Time // of the failures
	failing  time.Time // since when there is no verdict in favour; zero if there was no failure since
	start    int       // counts the starts, and what ends the verdict about one
	proven   bool      // this start stays up
	kept     bool      // and there is nothing more to be learned about it
	lost     bool      // what is used is given up at the next start, however few the failures
	doubted  bool      // by Reject: files were given up that the daemon stays up with
	again    int       // how often Again had files tried since they worked
	blurred  bool      // the files changed while the daemon started
}

// New returns the Trial of a daemon that reads its files below etc, and an error if
// what was kept earlier is lost, which does not matter to a start. The directory none
// is empty.
func New(sources Sources, store Store, etc, none string) (*Trial, error) {
	good, err := store.Load()
	return &Trial{sources: sources, store: store, etc: etc, none: none, good: good, now: Set{}, using: UserFiles, told: UserFiles, Span: usualSpan}, err
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
	Failing   time.Duration // since the first failure after the last verdict in favour
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
	t.now, t.blurred, t.proven, t.kept = read, false, false, false
	if changed && t.row < maxRow {
		t.renew()
	}
	s := Start{Odd: read.Odd(), Cause: t.cause, Failing: t.failingFor()}
	if t.isLost() {
		s.Exhausted = t.giveUp()
	}
	t.start++
	s.Number = t.start
	s.Using, s.Etc = t.using, t.directory()
	if t.using != UserFiles {
		t.now = t.now.withoutContents() // it will not be kept
	}
	if t.using != t.told && t.using != UserFiles {
		t.told, s.Rejection = t.using, t.rejection()
	}
	return s
}

func (t *Trial) failingFor() time.Duration {
	if t.failing.IsZero() {
		return 0
	}
	return time.Since(t.failing)
}

// isLost reports whether what was used last is given up.
func (t *Trial) isLost() bool {
	switch {
	case t.lost:
		return true
	case t.suspicion() == Trusted:
		return t.failures >= maxFailures && time.Since(t.first) >= t.Span
	}
	return t.failures >= maxFailures || t.using == UserFiles && t.row >= maxRow
}

// giveUp goes on to what is to be used next, and reports whether that is the user's
// files again.
func (t *Trial) giveUp() (exhausted bool) {
	t.failures, t.lost = 0, false
	switch {
	case t.using == UserFiles && len(t.good) > 0 && !t.good.Equal(t.now):
		t.using = GoodFiles
	case t.using != NoFiles && len(t.now) > 0:
		t.using = NoFiles
	default:
		t.renew()
		t.row = 0
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

// Prove tells that the daemon of a start stays up. It reports whether that is news of the
// files in /etc. If it has started containers, too, that ends the trial in favour of what
// it uses, and the files are kept.
func (t *Trial) Prove(number int, containers bool) (userFiles bool, err error) {
	set, userFiles := t.prove(number, containers)
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
func (t *Trial) prove(number int, containers bool) (keep Set, userFiles bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number != t.start || t.kept || t.proven && !containers {
		return nil, false
	}
	t.proven, t.kept = true, containers
	t.failures, t.row, t.failing = 0, 0, time.Time{}
	if t.using != UserFiles {
		return nil, false
	}
	t.told, t.doubted = UserFiles, false
	if !containers {
		return nil, true
	}
	t.again, t.lost = 0, false
	set := t.now
	t.now = t.now.withoutContents()
	if t.blurred || len(set.Odd()) > 0 || set.Equal(t.good) && !t.unsaved {
		return nil, true
	}
	return set, true
}

// Fail tells that the daemon of the last start ended, or was ended because it hung.
// That is no failure once it is proven that it stays up.
func (t *Trial) Fail(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.proven {
		t.fail(cause)
	}
}

// FailStart is Fail for a daemon that could not be executed at all. No time helps then.
func (t *Trial) FailStart(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(cause)
	t.lost = t.failures >= maxFailures
}

// Reject is Fail for a daemon that runs, but not as it should: that will not change
// when it is started with the same files twice more. It reports whether the number is
// that of the last start.
func (t *Trial) Reject(number int, cause string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number != t.start || t.kept {
		return false
	}
	t.fail(cause)
	t.lost, t.doubted = true, true
	return true
}

func (t *Trial) fail(cause string) {
	if t.start == 0 {
		return
	}
	if t.failures == 0 {
		t.first = time.Now()
	}
	if t.failing.IsZero() {
		t.failing = time.Now()
	}
	if t.suspicion() != Trusted { // of these there may be many, and they have not changed
		t.row++
	}
	t.failures++
	t.cause = cause
}

// Acquit makes the next start one with the files in /etc again, if they were given up by
// Reject and that has not helped. It reports whether that is so.
func (t *Trial) Acquit() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.using != NoFiles || !t.doubted || t.kept {
		return false
	}
	t.renew()
	return true
}

// Again makes the next start one with files that were good once, if the last one is
// without any. It reports whether that is so. Files that Reject gave up stay so if
// containers have been started without them.
func (t *Trial) Again(number int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number != t.start || t.using != NoFiles || len(t.good) == 0 || t.doubted && t.kept {
		return false
	}
	t.using, t.failures, t.lost = GoodFiles, 0, false
	if t.now.Equal(t.good) {
		t.using = UserFiles
	}
	t.again++
	t.start++
	return true
}

// Attempts returns how often Again had files tried since files worked.
func (t *Trial) Attempts() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.again
}

// Renew makes the next start another trial of the files in /etc.
func (t *Trial) Renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renew()
	t.row, t.again, t.failing = 0, 0, time.Time{}
}

// Forget drops the files that were good once, because they are another machine's. The
// daemon that runs has files of that one, too: they are not kept either.
func (t *Trial) Forget() error {
	t.Renew()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.good, t.unsaved = Set{}, false
	return t.store.Forget()
}

// renew also ends the verdict about the process that runs: it may use other files.
func (t *Trial) renew() {
	t.start++
	t.using, t.told, t.failures, t.lost, t.doubted = UserFiles, UserFiles, 0, false, false
}

// Suspicion tells how likely the files that are used now are to be the reason that a
// node with a daemon that seems well does not do what it should.
type Suspicion int

// The degrees of suspicion.
const (
	Innocent Suspicion = iota // none are used, or a container was started with them
	Trusted                   // they were good once
	Suspect                   // they were never good
)

// Suspicion returns that of the last start.
func (t *Trial) Suspicion() Suspicion {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.suspicion()
}

func (t *Trial) suspicion() Suspicion {
	switch {
	case t.kept || t.using == NoFiles || t.using == UserFiles && len(t.now) == 0:
		return Innocent
	case t.using == GoodFiles || t.now.Equal(t.good):
		return Trusted
	}
	return Suspect
}
