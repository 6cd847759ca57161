package credprovider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// Ask hands a request to the pod that serves path, and returns what the provider wrote
// to standard output. An error is that of the provider, or says what keeps the node from
// asking it. A pod that is not there yet has ten seconds to come: when a node boots, it
// starts together with those whose images need it.
func Ask(ctx context.Context, path string, r Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	conn, err := connect(ctx, path, startBound)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	var a answer
	err = send(conn, r)
	if err == nil {
		err = receive(conn, answerMessage, &a)
	}
	if err != nil {
		return nil, fmt.Errorf("the pod that serves %s does not answer: %w: look into its log", path, err)
	}
	return a.result()
}

// again is how often to look for a pod that does not serve yet.
const again = 100 * time.Millisecond

// connect waits for a pod to serve path.
func connect(ctx context.Context, path string, bound time.Duration) (net.Conn, error) {
	late := time.Now().Add(bound)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
		if absent && time.Now().Before(late) && wait(ctx, again) {
			continue
		}
		if absent {
			err = fmt.Errorf("no pod serves %s: start the pod that does", path)
		}
		return nil, err
	}
}

// wait reports false when the context ends before that.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
