package trial

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// bench is a Trial of a kubelet whose files a test changes.
type bench struct {
	*Trial
	t     *testing.T
	store Store
	etc   string
}

func newBench(t *testing.T, files map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, etc: etcWith(t, files), store: newStore(t)}
	b.boot()
	return b
}

func (b *bench) boot() {
	b.t.Helper()
	tr, err := New(kubelet, b.store, b.etc, filepath.Join(b.etc, "none"))
	lab.Must(b.t, err)
	tr.Span = 0
	b.Trial = tr
}

func (b *bench) write(text string) {
	b.t.Helper()
	lab.WriteFile(b.t, filepath.Join(b.etc, "kubernetes/config.yaml"), text)
}

// start makes a start, which must be with what is wanted.
func (b *bench) start(want Using) Start {
	b.t.Helper()
	s := b.Next()
	if dir := map[Using]string{UserFiles: b.etc, GoodFiles: b.store.Dir, NoFiles: filepath.Join(b.etc, "none")}[want]; s.Using != want || s.Etc != dir {
		b.t.Fatalf("start %d uses %s in %s, want %s in %s", s.Number, s.Using, s.Etc, want, dir)
	}
	return s
}

// fail makes starts that fail, each of which must be with what is wanted.
func (b *bench) fail(count int, want Using) (first Start) {
	b.t.Helper()
	for i := range count {
		s := b.start(want)
		if i == 0 {
			first = s
		}
		b.Fail("no such thing")
	}
	return first
}

// succeed makes a start that stays up.
func (b *bench) succeed(want Using) Start {
	b.t.Helper()
	s := b.start(want)
	b.Ready(s.Number)
	if _, err := b.Prove(s.Number, true); err != nil {
		b.t.Error(err)
	}
	return s
}

func (b *bench) wantGood(want string) {
	b.t.Helper()
	if got := lab.ReadFile(b.t, filepath.Join(b.store.Dir, "kubernetes/config.yaml")); got != want {
		b.t.Errorf("the kept file is %q, want %q", got, want)
	}
}

var oneFile = map[string]string{"kubernetes/config.yaml": "first"}

func TestGoodFilesStay(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.wantGood("first")
	b.fail(2, UserFiles)
	b.succeed(UserFiles) // failures count in a row
	b.fail(2, UserFiles)
	b.start(UserFiles)
}

func TestBadFilesGiveWayToGoodOnes(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.write("bad")
	b.fail(3, UserFiles)
	s := b.succeed(GoodFiles)
	if r := s.Rejection; r == nil || !slices.Equal(r.Files, []string{"/etc/kubernetes/config.yaml"}) || r.Error != "no such thing" || r.Using != GoodFiles || r.Since.IsZero() {
		t.Errorf("rejection = %+v", r)
	}
	b.wantGood("first")
	if s := b.succeed(GoodFiles); s.Rejection != nil { // an end long after is no new trial
		t.Errorf("it is said twice: %+v", s.Rejection)
	}
	b.write("better")
	b.succeed(UserFiles)
	b.wantGood("better")
}

func TestBadFilesGiveWayToNone(t *testing.T) {
	b := newBench(t, oneFile)
	b.fail(3, UserFiles)
	if s := b.succeed(NoFiles); s.Rejection == nil || s.Rejection.Using != NoFiles {
		t.Errorf("rejection = %+v", s.Rejection)
	}
	b.start(NoFiles)
}

// Files that were good, and that fail for a reason outside of them, give way, too.
func TestGoodFilesThatFail(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.fail(3, UserFiles)
	b.start(NoFiles)
}

func TestAllFails(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.write("bad")
	for range 2 {
		first := b.fail(3, UserFiles)
		b.fail(3, GoodFiles)
		b.fail(3, NoFiles)
		if first.Rejection != nil {
			t.Errorf("a beginning with all files rejects %+v", first.Rejection)
		}
	}
	if s := b.start(UserFiles); !s.Exhausted || s.Cause != "no such thing" {
		t.Errorf("start = %+v, want it exhausted", s)
	}
}

// Without files there is nothing to give up.
func TestNoFiles(t *testing.T) {
	b := newBench(t, nil)
	b.fail(3, UserFiles)
	if s := b.start(UserFiles); !s.Exhausted || s.Rejection != nil || b.Suspicion() != Innocent {
		t.Errorf("start = %+v, %v", s, b.Suspicion())
	}
}

// That a file was removed is a change like any other.
func TestRemovedFiles(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	lab.Must(t, os.Remove(filepath.Join(b.etc, "kubernetes/config.yaml")))
	b.fail(3, UserFiles)
	if s := b.fail(3, GoodFiles); s.Rejection == nil || !slices.Equal(s.Rejection.Files, []string{"/etc/kubernetes/config.yaml"}) {
		t.Errorf("rejection = %+v", s.Rejection)
	}
	b.succeed(UserFiles)
	if _, err := os.Stat(filepath.Join(b.store.Dir, "kubernetes")); err == nil {
		t.Error("the removed file is still kept")
	}
}

func TestNewTrials(t *testing.T) {
	b := newBench(t, oneFile)
	b.fail(3, UserFiles)
	b.start(NoFiles)
	b.Renew() // somebody asks for a restart
	b.fail(3, UserFiles)
	b.start(NoFiles)
	b.boot()
	b.fail(3, UserFiles)
	b.start(NoFiles)
	b.write("changed")
	b.start(UserFiles)
}

func TestGoodFilesSurviveABoot(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.write("bad")
	b.boot()
	b.fail(3, UserFiles)
	b.start(GoodFiles)
	b.wantGood("first")
}

// A file that changes at every start does not keep the node down.
func TestFilesThatAlwaysChange(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	for i := range maxRow {
		b.write(strings.Repeat("x", i+1))
		b.fail(1, UserFiles)
	}
	b.write("changed again")
	b.start(GoodFiles)
	b.Fail("no such thing")
	b.write("and again")
	s := b.succeed(GoodFiles)
	b.write("once more")
	b.start(UserFiles)
	if s.Rejection != nil {
		t.Errorf("it is said twice: %+v", s.Rejection)
	}
}

// What changed between the decision and readiness may or may not be what the daemon
// has read, so it is not kept.
func TestFilesThatChangeDuringTheStart(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.write("second")
	s := b.start(UserFiles)
	b.write("third")
	b.Ready(s.Number)
	if userFiles, err := b.Prove(s.Number, true); !userFiles || err != nil {
		t.Errorf("Prove = %v, %v", userFiles, err)
	}
	b.wantGood("first")
	b.fail(3, UserFiles)
	b.start(GoodFiles)
}

// Files of which not all is known are used, but not kept.
func TestOddFilesAreNotKept(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	lab.Must(t, os.Truncate(filepath.Join(b.etc, "kubernetes/config.yaml"), maxFile+1))
	if s := b.succeed(UserFiles); len(s.Odd) != 1 || !strings.HasPrefix(s.Odd[0], "kubernetes/config.yaml: it is too large") {
		t.Errorf("Odd = %q", s.Odd)
	}
	b.wantGood("first")
	b.fail(3, UserFiles)
	b.start(GoodFiles)
}

// Files that could not be kept are not the last good ones. They are kept at the next
// proof.
func TestFilesThatCannotBeKept(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	for _, obstacle := range []string{filepath.Dir(b.store.Dir), b.store.File} {
		b.write("not for " + obstacle)
		lab.Must(t, os.RemoveAll(obstacle))
		if obstacle == b.store.File {
			lab.Must(t, os.MkdirAll(filepath.Join(obstacle, "x"), 0o700))
		} else {
			lab.WriteFile(t, obstacle, "no directory")
		}
		if _, err := b.Prove(b.start(UserFiles).Number, true); err == nil {
			t.Fatalf("%s is no obstacle", obstacle)
		}
		if got := b.store.fromDir(); !got.Equal(b.good) {
			t.Errorf("%q count as good, %q are there", names(b.good), names(got))
		}
		lab.Must(t, os.RemoveAll(obstacle))
		b.succeed(UserFiles)
		wantKept(t, b.store, b.good)
		b.wantGood("not for " + obstacle)
	}
}

// Files that were good once may fail for a reason outside of them, which goes.
func TestGoodFilesHaveTime(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.Span = time.Hour
	b.fail(4*maxRow, UserFiles)
	b.write("bad")
	b.fail(3, UserFiles)
	b.fail(10, GoodFiles)
	b.first = b.first.Add(-b.Span)
	if s := b.start(NoFiles); s.Failing == 0 {
		t.Error("the daemon has not failed at all")
	}
	b.write("first")
	for range 3 { // whatever its files were, it cannot be executed
		b.start(UserFiles)
		b.FailStart("argument list too long")
	}
	b.start(NoFiles)
}

func TestAgain(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.fail(3, UserFiles)
	for i := range 3 {
		s := b.start(NoFiles)
		if first := s.Rejection != nil; first != (i == 0) || b.Attempts() != i {
			t.Errorf("rejection %+v, %d attempts after %d", s.Rejection, b.Attempts(), i)
		}
		if b.Again(s.Number-1) || !b.Again(s.Number) {
			t.Error("Again takes another start than the last")
		}
		if userFiles, _ := b.Prove(s.Number, true); userFiles {
			t.Error("the process without files, which still runs, speaks for them")
		}
		b.fail(3, UserFiles)
	}
	b.Again(b.start(NoFiles).Number)
	if s := b.succeed(UserFiles); b.Again(s.Number) || b.Attempts() != 0 {
		t.Error("files that are used are tried again")
	}
	b.write("bad")
	b.fail(3, UserFiles)
	b.fail(3, GoodFiles)
	b.Again(b.start(NoFiles).Number)
	if s := b.succeed(GoodFiles); s.Rejection == nil || s.Rejection.Using != GoodFiles {
		t.Errorf("rejection = %+v", s.Rejection)
	}
}

// Files that were given up though the daemon was well come back if that has not helped,
// and do not if it has.
func TestAcquit(t *testing.T) {
	for _, helped := range []bool{false, true} {
		b := newBench(t, oneFile)
		b.succeed(UserFiles)
		b.Reject(b.start(UserFiles).Number, "no pod starts")
		s := b.start(NoFiles)
		if helped {
			b.Prove(s.Number, true)
		}
		if b.Again(s.Number) == helped || b.Acquit() {
			t.Errorf("helped %v: Again and Acquit are wrong", helped)
		}
	}
	b := newBench(t, oneFile)
	b.Reject(b.start(UserFiles).Number, "no pod starts")
	b.start(NoFiles)
	if !b.Acquit() || b.Acquit() {
		t.Error("Acquit does not work, or twice")
	}
	b.fail(3, UserFiles)
	if b.start(NoFiles); b.Acquit() {
		t.Error("files with which the daemon does not stay up are acquitted")
	}
}

// A daemon that stays up, without a container since it was started, has not shown enough
// for its files to be kept.
func TestProofWithoutContainers(t *testing.T) {
	b := newBench(t, oneFile)
	b.succeed(UserFiles)
	b.write("second")
	s := b.start(UserFiles)
	if userFiles, err := b.Prove(s.Number, false); !userFiles || err != nil {
		t.Errorf("Prove = %v, %v", userFiles, err)
	}
	if userFiles, _ := b.Prove(s.Number, false); userFiles || b.Suspicion() != Suspect {
		t.Error("the same news is told twice, or the files count as good")
	}
	b.wantGood("first")
	b.fail(2, UserFiles)
	s = b.start(UserFiles)
	for _, containers := range []bool{false, true} {
		b.Prove(s.Number, containers)
	}
	b.wantGood("second")
	b.write("third")
	s = b.start(UserFiles)
	b.Prove(s.Number, false)
	if !b.Reject(s.Number, "the peer fails") {
		t.Error("files that are not kept cannot be rejected")
	}
	b.start(GoodFiles)
}

func TestReject(t *testing.T) {
	b := newBench(t, oneFile)
	s := b.start(UserFiles)
	if b.Reject(s.Number-1, "old") || !b.Reject(s.Number, "no pod starts") {
		t.Error("Reject takes another start than the last")
	}
	if s := b.start(NoFiles); s.Rejection == nil || s.Rejection.Error != "no pod starts" {
		t.Errorf("rejection = %+v", s.Rejection)
	}
	b.Renew()
	s = b.succeed(UserFiles)
	if b.Reject(s.Number, "late") {
		t.Error("Reject takes a start that is proven")
	}
}

// A verdict about an earlier start, or an end after the verdict, changes nothing.
func TestLateVerdicts(t *testing.T) {
	b := newBench(t, oneFile)
	old := b.fail(1, UserFiles)
	b.start(UserFiles)
	if userFiles, _ := b.Prove(old.Number, true); userFiles {
		t.Error("the verdict about another start counts")
	}
	if _, err := os.Stat(b.store.File); err == nil {
		t.Error("files are kept with which the daemon did not stay up")
	}
	b.succeed(UserFiles)
	for range 5 {
		b.Fail("after the verdict")
	}
	b.start(UserFiles)
}

func TestSuspicion(t *testing.T) {
	b := newBench(t, oneFile)
	want := func(want Suspicion, when string) {
		t.Helper()
		if got := b.Suspicion(); got != want {
			t.Errorf("%s: suspicion %d, want %d", when, got, want)
		}
	}
	s := b.start(UserFiles)
	want(Suspect, "new files")
	b.Prove(s.Number, true)
	want(Innocent, "proven")
	b.start(UserFiles)
	want(Trusted, "good once")
	b.write("bad")
	b.fail(3, UserFiles)
	want(Suspect, "bad")
	b.fail(3, GoodFiles)
	want(Trusted, "the last good ones")
	b.start(NoFiles)
	want(Innocent, "none")
}

// The contents of files are in memory only until there is a verdict.
func TestContentsAreForgotten(t *testing.T) {
	b := newBench(t, oneFile)
	held := func() (size int) {
		for _, s := range []Set{b.now, b.good} {
			for _, f := range s {
				size += len(f.text)
			}
		}
		return size
	}
	b.start(UserFiles)
	if held() != len("first") {
		t.Errorf("%d bytes are held during a trial", held())
	}
	b.succeed(UserFiles)
	if held() != 0 {
		t.Errorf("%d bytes are held after the verdict", held())
	}
	b.fail(3, UserFiles)
	b.start(NoFiles)
	if held() != 0 {
		t.Errorf("%d bytes are held of files that are not used", held())
	}
}
