package credprovider

import (
	"context"
	"io"
	"log"
	"net"
	"os"
	"time"

	"kios/internal/unixsocket"
)

const (
	// maxClients wait at once. The kubelet asks for each image that it pulls, all at the
	// same time.
	maxClients = 256
	// maxAtOnce of them are answered at the same time.
	maxAtOnce = 16
)

// Serve is the provider at a socket, in place of one that is there, until the context
// ends. answer is called for each request, at the same time for several, and gets the
// arguments and the standard input that the kubelet has given the provider. It returns
// what goes to standard output, or why there is nothing. It has to end with its context,
// which ends after 50 seconds, and when the kubelet does not wait any more.
func Serve(ctx context.Context, path string, answer func(ctx context.Context, args []string, request []byte) ([]byte, error)) error {
	return ServeRequests(ctx, path, func(ctx context.Context, r Request) ([]byte, error) {
		return answer(ctx, r.Args, r.Stdin)
	})
}

// ServeRequests is Serve for an answer that depends on the environment, too: variables
// that the kubelet's configuration has for the provider, and the node's for the kubelet.
func ServeRequests(ctx context.Context, path string, answer func(context.Context, Request) ([]byte, error)) error {
	l, err := unixsocket.Listen(path, unixsocket.ForRoot)
	if err != nil {
		return err
	}
	// What is left of the socket is as good as none. By the time it ends, a new pod may
	// serve the same path.
	l.SetUnlinkOnClose(false)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	s := server{ctx: ctx, answer: answer, turns: make(chan struct{}, maxAtOnce)}
	unixsocket.Serve(l, maxClients, log.Printf, s.serve)
	return nil
}

type server struct {
	ctx    context.Context
	answer func(context.Context, Request) ([]byte, error)
	turns  chan struct{}
}

// serve answers one client. Until it is its turn, its request stays in the kernel.
func (s server) serve(c *net.UnixConn) {
	if !trusted(c) {
		return
	}
	select {
	case <-s.ctx.Done():
		return
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	}
	var r Request
	c.SetReadDeadline(time.Now().Add(ioBound))
	if err := receive(c, requestMessage, &r); err != nil {
		return // nobody to tell
	}
	stdout, err := s.work(c, r)
	c.SetWriteDeadline(time.Now().Add(ioBound))
	_ = send(c, answerOf(stdout, err)) // a client that is gone needs none
}

// trusted reports whether the client is root, or who serves.
func trusted(c *net.UnixConn) bool {
	peer, err := unixsocket.Peer(c)
	return err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

// work answers a request for as long as the client waits.
func (s server) work(c *net.UnixConn, r Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, answerBound)
	defer cancel()
	c.SetReadDeadline(time.Time{})
	go func() {
		io.Copy(io.Discard, c) // until the client is gone, or the connection closed
		cancel()
	}()
	return s.answer(ctx, r)
}
