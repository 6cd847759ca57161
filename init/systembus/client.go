package systembus

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"kios/init/dbuswire"
	"kios/internal/consoleline"
	"kios/internal/unixsocket"

	"golang.org/x/sys/unix"
)

// client is a connection. One goroutine reads its calls and carries them out,
// one after another; another one writes.
type client struct {
	server *Server
	sock   *net.UnixConn
	uid    uint32
	pid    int32
	comm   string // the program's name when it connected
	out    chan packet
	done   chan struct{} // closed when the connection has ended
	once   sync.Once     // closes done
	after  []func()      // called when the call has been answered

	name string // unique name, "" before Hello; written under the server's lock

	mu    sync.Mutex
	rules []rule
}

// packet is a message on its way to a client.
type packet struct {
	text []byte
	file *os.File // sent with it, and closed here afterwards
}

func (p packet) drop() {
	if p.file != nil {
		p.file.Close()
	}
}

func (p packet) write(sock *net.UnixConn) error {
	defer p.drop()
	sock.SetWriteDeadline(time.Now().Add(writeBound))
	rest := p.text
	if p.file != nil {
		n, _, err := sock.WriteMsgUnix(rest, unix.UnixRights(int(p.file.Fd())), nil)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	_, err := sock.Write(rest)
	return err
}

// serve handles one connection to its end.
func (s *Server) serve(sock *net.UnixConn) {
	cred, err := unixsocket.Peer(sock)
	if err != nil {
		s.refuse("a client whose user is not known is turned away: %v", err)
		return
	}
	if err := s.admit(cred.Uid); err != nil {
		s.refuse("process %d of user %d is turned away: %v", cred.Pid, cred.Uid, err)
		return
	}
	c := &client{
		server: s, sock: sock, uid: cred.Uid, pid: cred.Pid, comm: programOf(cred.Pid),
		out: make(chan packet, maxQueue), done: make(chan struct{}),
	}
	defer s.leave(c)
	if err := c.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.refuse("the connection of %s ends: %v", c, err)
	}
}

// programOf returns the name of the program that a process runs. Later its number may
// be another's.
func programOf(pid int32) string {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return consoleline.Clean(strings.TrimSpace(string(comm)), 20)
}

// String tells who the client is, for the log.
func (c *client) String() string {
	return fmt.Sprintf("process %d (%s) of user %d", c.pid, c.comm, c.uid)
}

// run lets the client in and carries out its calls.
func (c *client) run() error {
	r := bufio.NewReader(c.sock)
	c.sock.SetDeadline(time.Now().Add(authBound))
	if err := (&auth{uid: c.uid, id: c.server.id}).run(r, c.sock); err != nil {
		return err
	}
	c.sock.SetDeadline(time.Time{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer unixsocket.Recover(c.server.warn)
		defer c.close()
		c.write()
	}()
	defer func() { c.close(); <-written; c.drain() }()
	for {
		// The kernel closes files that come with a message, because nothing here
		// receives them.
		m, err := dbuswire.Read(r, maxMessage)
		if err != nil {
			return err
		}
		if err := c.handle(m); err != nil {
			return err
		}
	}
}

// handle carries out a call. Other messages are for other clients, and there is no
// way to them.
func (c *client) handle(m *dbuswire.Message) error {
	if m.Type != dbuswire.Call {
		return nil
	}
	c.after = nil
	out, results, err := c.server.call(c, m)
	c.reply(m, out, results, err)
	for _, f := range c.after {
		f()
	}
	if c.name == "" {
		return errors.New("it did not say Hello first")
	}
	return nil
}

// reply answers a call. The sender of the answer is the service that was called.
func (c *client) reply(m *dbuswire.Message, out dbuswire.Signature, results []any, err error) {
	r := &dbuswire.Message{
		Type: dbuswire.Return, Flags: dbuswire.NoReply, Serial: c.server.serial.Add(1), ReplySerial: m.Serial,
		Sender: driverName, Destination: c.name, Signature: out, Body: results,
	}
	if v := c.server.service(m.Destination); v != nil {
		r.Sender = v.unique
	}
	if err != nil {
		refusal(r, err)
	}
	var p packet
	for i, v := range r.Body {
		if f, ok := v.(*os.File); ok {
			p.file, r.Body[i], r.Files = f, dbuswire.UnixFD(0), 1
		}
	}
	if m.Flags&dbuswire.NoReply != 0 {
		p.drop()
		return
	}
	p.text, err = r.Encode()
	if err != nil {
		p.drop()
		c.server.host.Log.Warn("bus: answer %s: %v", m.Member, err)
		c.close()
		return
	}
	c.deliver(p)
}

// deliver waits for room: a client that does not read is not served.
func (c *client) deliver(p packet) {
	select {
	case c.out <- p:
	case <-c.done:
		p.drop()
	}
}

// offer does not wait: the connection of a client that does not read its signals
// ends.
func (c *client) offer(p packet) {
	select {
	case c.out <- p:
	default:
		c.server.refuse("the connection of %s ends: it does not read its signals", c)
		c.close()
	}
}

func (c *client) write() {
	for {
		select {
		case p := <-c.out:
			if err := p.write(c.sock); err != nil {
				c.close()
				return
			}
		case <-c.done:
			return
		}
	}
}

// close ends the connection; the goroutines notice.
func (c *client) close() {
	c.once.Do(func() {
		close(c.done)
		c.sock.Close()
	})
}

// drain closes files that were not sent. Only the goroutine that reads calls sends
// any, and it has ended.
func (c *client) drain() {
	for {
		select {
		case p := <-c.out:
			p.drop()
		default:
			return
		}
	}
}

func (c *client) matches() []rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rules
}
