package server

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Watchdog returns within which time init wants to hear that this process is well, or 0,
// by the variables of sd_watchdog_enabled(3). They are removed, so that shims and plugins
// do not inherit them.
func Watchdog() time.Duration {
	text, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	os.Unsetenv("WATCHDOG_USEC")
	os.Unsetenv("WATCHDOG_PID")
	if pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(24*time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// watchdog tells init that CRI answers, for as long as it does. It asks as the kubelet
// does, over the socket: a server that hangs is silent, whatever still runs in it.
type watchdog struct {
	address string // of the socket
	every   time.Duration
	alive   func()
}

// run returns when ctx ends.
func (w *watchdog) run(ctx context.Context) {
	conn, err := grpc.NewClient("unix:"+w.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.G(ctx).WithError(err).Error("watch CRI")
		return
	}
	defer conn.Close()
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		if err := w.ask(ctx, conn); err == nil {
			w.alive()
		} else if ctx.Err() == nil {
			log.G(ctx).WithError(err).Error("CRI does not answer: init ends containerd if that lasts")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks CRI for its version.
func (w *watchdog) ask(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	_, err := runtime.NewRuntimeServiceClient(conn).Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	return nil
}
