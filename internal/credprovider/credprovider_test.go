package credprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// The test binary is also a client that is not root.
func TestMain(m *testing.M) {
	if os.Args[0] == "stranger" {
		_, err := Ask(context.Background(), os.Args[1], Request{})
		fmt.Print(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type handler = func(context.Context, Request) ([]byte, error)

// serve serves a provider and returns its socket.
func serve(t *testing.T, answer handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "plugin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- ServeRequests(ctx, path, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

func TestAsk(t *testing.T) {
	var got Request
	path := serve(t, func(_ context.Context, r Request) ([]byte, error) { got = r; return []byte("\x00auth\xff"), nil })
	want := Request{Args: []string{"get-credentials", "", "--x=\n"}, Env: []string{"A=b c"}, Stdin: []byte("{}\x00")}
	out, err := Ask(t.Context(), path, want)
	if err != nil || string(out) != "\x00auth\xff" {
		t.Errorf("answer %q, %v", out, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

// Serve passes on what most providers need.
func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Serve(ctx, path, func(_ context.Context, args []string, request []byte) ([]byte, error) {
			return append([]byte(args[0]+" "), request...), nil
		})
	}()
	if out, err := Ask(t.Context(), path, Request{Args: []string{"get"}, Stdin: []byte("image")}); err != nil || string(out) != "get image" {
		t.Errorf("answer %q, %v", out, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// What is too large is refused, and neither side ever holds more than its bound.
func TestBounds(t *testing.T) {
	size := 0
	path := serve(t, func(_ context.Context, r Request) ([]byte, error) {
		if string(r.Stdin) == "fail" {
			return nil, errors.New(strings.Repeat("é", size))
		}
		return make([]byte, size), nil
	})
	full := bytes.Repeat([]byte("\x01"), MaxRequest)
	for _, tt := range []struct {
		name    string
		request Request
		size    int    // of the answer
		want    string // "" for an answer
	}{
		{"all that fits", Request{Args: []string{string(full[1:])}, Stdin: full}, MaxAnswer, ""},
		{"a large answer", Request{}, MaxAnswer + 1, "the answer has more than 1048576 bytes"},
		{"large input", Request{Stdin: append(full, 1)}, 0, "the request is too large"},
		{"many arguments", Request{Args: make([]string, MaxRequest+1)}, 0, "the request is too large"},
		{"a long reason", Request{Stdin: []byte("fail")}, MaxError, strings.Repeat("é", MaxError/2)},
		{"no reason", Request{Stdin: []byte("fail")}, 0, "it failed, and does not say why"},
	} {
		size = tt.size
		out, err := Ask(t.Context(), path, tt.request)
		if tt.want == "" {
			if err != nil || len(out) != tt.size {
				t.Errorf("%s: %d bytes, %v", tt.name, len(out), err)
			}
		} else if err == nil || !strings.HasPrefix(err.Error(), tt.want) || len(err.Error()) > MaxError {
			t.Errorf("%s: %v, want %.50s", tt.name, err, tt.want)
		}
	}
}

// Nobody has to serve a provider all the time: a pod that comes late is waited for, and
// one that is gone is named.
func TestPodsComeAndGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.sock")
	short, stop := context.WithTimeout(t.Context(), 3*again/2)
	defer stop()
	if _, err := Ask(short, path, Request{}); err == nil || err.Error() != "no pod serves "+path+": start the pod that does" {
		t.Errorf("nobody serves: %v", err)
	}
	for range 2 { // the second one finds what the first one has left
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		time.AfterFunc(again, func() {
			done <- Serve(ctx, path, func(context.Context, []string, []byte) ([]byte, error) { return []byte("ok"), nil })
		})
		if out, err := Ask(t.Context(), path, Request{}); string(out) != "ok" {
			t.Errorf("a late pod: %q, %v", out, err)
		}
		cancel()
		<-done
	}
}

// The provider is told when the kubelet has lost patience.
func TestClientGone(t *testing.T) {
	begun, ended := make(chan bool), make(chan bool)
	path := serve(t, func(ctx context.Context, _ Request) ([]byte, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := Ask(ctx, path, Request{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("error = %v", err)
	}
	<-ended
}

// Many ask at once, and all get their answers.
func TestMany(t *testing.T) {
	path := serve(t, func(_ context.Context, r Request) ([]byte, error) { return r.Stdin, nil })
	errs := make(chan error)
	for i := range 100 {
		go func() {
			want := fmt.Sprint(i)
			out, err := Ask(t.Context(), path, Request{Stdin: []byte(want)})
			if err == nil && string(out) != want {
				err = fmt.Errorf("got %q, want %q", out, want)
			}
			errs <- err
		}()
	}
	for range 100 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A client that says nothing, or rubbish, costs itself.
func TestBadClients(t *testing.T) {
	path := serve(t, func(context.Context, Request) ([]byte, error) { return []byte("ok"), nil })
	for _, text := range []string{"", "rubbish", `{"args":1}`, strings.Repeat(" ", requestMessage+1)} {
		conn, err := connect(t.Context(), path, time.Minute)
		lab.Must(t, err)
		go conn.Write([]byte(text))
		defer conn.Close()
	}
	if out, err := Ask(t.Context(), path, Request{}); string(out) != "ok" {
		t.Errorf("a good client: %q, %v", out, err)
	}
}

// A provider that fails badly ends nothing but itself.
func TestPanic(t *testing.T) {
	path := serve(t, func(context.Context, Request) ([]byte, error) { panic("oops") })
	for range 2 {
		if _, err := Ask(t.Context(), path, Request{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("error = %v", err)
		}
	}
}

// Only root is answered, whatever the mode of the socket.
func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	path := serve(t, func(context.Context, Request) ([]byte, error) { return []byte("secret"), nil })
	_, err := Ask(t.Context(), path, Request{}) // it serves
	lab.Must(t, err)
	open(t, path)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"stranger", path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "does not answer") {
		t.Errorf("a stranger got %q, %v", out, err)
	}
}

// open lets everybody get at a socket.
func open(t *testing.T, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		lab.Must(t, os.Chmod(dir, 0o755))
	}
	lab.Must(t, os.Chmod(path, 0o666))
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"args":["get"],"env":["A=b"],"stdin":"e30="}`))
	f.Add([]byte(`{"stdout":"e30=","error":"no"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() { theirs.Write(text); theirs.Close() }()
		var r Request
		if receive(ours, requestMessage, &r) == nil {
			_ = r.check()
		}
		if a := (answer{}); json.Unmarshal(text, &a) == nil {
			if out, err := a.result(); len(out) > MaxAnswer || err != nil && len(err.Error()) > MaxAnswer {
				t.Errorf("%d bytes, %v", len(out), err)
			}
		}
	})
}
