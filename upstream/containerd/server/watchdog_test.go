package server

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestWatchdogVariables(t *testing.T) {
	tests := []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", "", 30 * time.Second},
		{"30000000", strconv.Itoa(os.Getpid()), 30 * time.Second},
		{"30000000", "1", 0},
		{"", "", 0},
		{"-1", "", 0},
		{"often", "", 0},
	}
	for _, tt := range tests {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		if got := Watchdog(); got != tt.want {
			t.Errorf("Watchdog() with %q for %q = %v, want %v", tt.usec, tt.pid, got, tt.want)
		}
		if _, ok := os.LookupEnv("WATCHDOG_USEC"); ok {
			t.Error("WATCHDOG_USEC is still there: shims would inherit it")
		}
	}
}

// hanging is a CRI that answers once, and then no more.
type hanging struct {
	runtime.UnimplementedRuntimeServiceServer
	asked chan struct{}
}

func (h *hanging) Version(ctx context.Context, _ *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	select {
	case h.asked <- struct{}{}:
		return &runtime.VersionResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestWatchdogIsSilentWhenCRIHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	cri := &hanging{asked: make(chan struct{}, 1)}
	s := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(s, cri)
	go s.Serve(l)
	defer s.Stop()

	alive := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	w := &watchdog{address: socket, every: 50 * time.Millisecond, alive: func() { alive <- struct{}{} }}
	go func() { w.run(ctx); close(ended) }()
	<-alive
	// It hangs now, until it is asked to answer once more: that is the next sign of life.
	time.Sleep(4 * w.every)
	if n := len(alive); n != 0 {
		t.Errorf("%d signs of life of a CRI that hangs", n)
	}
	for answered := false; !answered; {
		select {
		case <-cri.asked: // an answer that comes too late is none, so again
		case <-alive:
			answered = true
		}
	}
	cancel()
	<-ended
}
