package server

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// parent makes a socket as init does, and returns its path and a descriptor
// as a child inherits it.
func parent(t *testing.T) (path string, fd int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); l.Close() })
	return path, int(f.Fd())
}

func TestInheritedSocketOutlivesItsListener(t *testing.T) {
	path, fd := parent(t)
	// The client is first, as the kubelet may be.
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 2 { // containerd, and containerd restarted
		l, err := listen(fd)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("after Close: %v, want the socket's file to stay", err)
		}
		again, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("dial while nobody accepts: %v, want to wait in the backlog", err)
		}
		defer again.Close()
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags of the inherited descriptor = %#x, %v, want FD_CLOEXEC: shims would inherit it", flags, err)
	}
}

func TestInheritedFailsOnWhatIsNoSocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err := listen(int(f.Fd())); err == nil {
		t.Errorf("listen(/dev/null) = %v, want an error", l)
	}
}

func TestInheritedRemovesTheVariables(t *testing.T) {
	t.Setenv("LISTEN_FDS", "0")
	t.Setenv("LISTEN_PID", "1")
	l, err := Inherited()
	if l != nil || err != nil {
		t.Errorf("Inherited() = %v, %v, want none", l, err)
	}
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s = %q, want it to be unset", name, v)
		}
	}
}

func echo(context.Context, any) (any, error) { return "answer", nil }

func TestCallsToCRIWait(t *testing.T) {
	ready := make(chan struct{})
	w := waitForCRI(ready)
	cri := &grpc.UnaryServerInfo{FullMethod: "/runtime.v1.RuntimeService/Version"}

	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := w.unary(short, nil, cri, echo); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("call before CRI is ready = %v, want DeadlineExceeded", err)
	}
	other := &grpc.UnaryServerInfo{FullMethod: "/containerd.services.version.v1.Version/Version"}
	if got, err := w.unary(t.Context(), nil, other, echo); got != "answer" || err != nil {
		t.Errorf("call to another service = %v, %v, want its answer", got, err)
	}
	answered := make(chan any)
	go func() { got, _ := w.unary(t.Context(), nil, cri, echo); answered <- got }()
	close(ready)
	if got := <-answered; got != "answer" {
		t.Errorf("call answered with %v when CRI became ready", got)
	}
}

// archive is an importer that has one image still to import.
type archive struct {
	ref     string
	unnamed bool          // what it brings is not known yet
	changed chan struct{} // nil when it is imported
	asked   chan struct{}
}

func (a *archive) SandboxImage() string { return "pause" }

func (a *archive) Named(ref string) <-chan struct{} {
	if a.unnamed || ref != "pause" {
		return nil
	}
	return a.Pending(ref)
}

func (a *archive) Pending(ref string) <-chan struct{} {
	changed := a.changed // before it tells the test, which then changes it
	if ref != a.ref && !a.unnamed || changed == nil {
		return nil
	}
	if a.asked != nil {
		a.asked <- struct{}{}
	}
	return changed
}

// A compressed archive, which may bring anything, holds up no pod.
func TestSandboxDoesNotWaitForUnknownArchives(t *testing.T) {
	a := &archive{unnamed: true, changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := waitForImages(a)(ctx, &runtime.RunPodSandboxRequest{}, nil, func(ctx context.Context, _ any) (any, error) {
		return nil, ctx.Err()
	})
	if err != nil {
		t.Errorf("RunPodSandbox waited for an archive whose names are not known: %v", err)
	}
}

func TestImageStatusWaitsForTheImport(t *testing.T) {
	a := &archive{ref: "app", changed: make(chan struct{})}
	calls := 0
	handle := func(context.Context, any) (any, error) {
		if calls++; calls == 1 {
			changed := a.changed
			a.changed = nil // imported between question and answer
			close(changed)
			return &runtime.ImageStatusResponse{}, nil
		}
		return &runtime.ImageStatusResponse{Image: &runtime.Image{Id: "1"}}, nil
	}
	req := &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: "app"}}
	got, err := waitForImages(a)(t.Context(), req, nil, handle)
	if err != nil || got.(*runtime.ImageStatusResponse).GetImage().GetId() != "1" || calls != 2 {
		t.Errorf("ImageStatus = %v, %v after %d calls, want the image after 2", got, err, calls)
	}
}

func TestImageStatusDoesNotWaitForOthers(t *testing.T) {
	a := &archive{ref: "app", changed: make(chan struct{})}
	handle := func(context.Context, any) (any, error) { return &runtime.ImageStatusResponse{}, nil }
	req := &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: "other"}}
	if _, err := waitForImages(a)(t.Context(), req, nil, handle); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	req.Image.Image = "app"
	if _, err := waitForImages(a)(short, req, nil, handle); err != nil {
		t.Errorf("ImageStatus at its deadline: %v, want the last answer", err)
	}
}

func TestPullAndSandboxWaitForTheImport(t *testing.T) {
	for ref, req := range map[string]any{
		"app":   &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: "app"}},
		"pause": &runtime.RunPodSandboxRequest{},
	} {
		a := &archive{ref: ref, changed: make(chan struct{}), asked: make(chan struct{})}
		done := make(chan error)
		go func() {
			_, err := waitForImages(a)(t.Context(), req, nil, func(context.Context, any) (any, error) {
				return nil, errors.New("called")
			})
			done <- err
		}()
		<-a.asked
		select {
		case <-done:
			t.Errorf("%T did not wait", req)
		default:
		}
		changed := a.changed
		a.changed = nil
		close(changed)
		if err := <-done; err == nil || err.Error() != "called" {
			t.Errorf("%T = %v, want the handler's error", req, err)
		}
	}
}
