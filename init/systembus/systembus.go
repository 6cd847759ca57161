// Package systembus is the system bus of a node: a D-Bus server in PID 1, at
// the socket where programs look for one. It has only services of its own, the
// parts of systemd's services that programs of a Kubernetes node use:
// org.freedesktop.login1 (the kubelet's graceful node shutdown, reboot agents),
// org.freedesktop.systemd1 (restarting the daemons, their state) and
// org.freedesktop.hostname1.
//
// Clients talk to PID 1 only. Nothing is carried from one client to another, and
// nobody but PID 1 owns a name, so this is not a message broker. Whoever reaches
// the socket may read. Only root of the node's own user namespace may change the
// node; the kernel tells who that is (SO_PEERCRED, see unix(7)).
//
// It follows the D-Bus Specification and the pages org.freedesktop.login1(5),
// org.freedesktop.systemd1(5) and org.freedesktop.hostname1(5).
package systembus

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kios/init/dbuswire"
	"kios/internal/unixsocket"
)

// Path is where the socket is on a node. Programs that know it below /var/run
// find it too: that is a link.
const Path = "/run/dbus/system_bus_socket"

// Bounds of what clients can make PID 1 spend.
const (
	maxClients       = 256
	maxStrangers     = 64             // of them, those that are not root's: the kubelet must always find room
	maxOfOneStranger = 16             // of them, those of one user
	maxSockets       = 2 * maxClients // with those that are about to be turned away
	maxMessage       = 64 << 10
	maxRules         = 64 // of one client
	maxRule          = 1024
	maxQueue         = 64 // messages that a client has not read yet
	maxLocks         = 64

	authBound  = 30 * time.Second // for a client to say who it is
	writeBound = 30 * time.Second // for a client to read
)

// Logger is where a Server reports.
type Logger interface {
	Warn(format string, args ...any)
	Notice(format string, args ...any)
	Info(format string, args ...any)
}

// Action is what becomes of a machine that is stopped.
type Action string

// The actions, by the names that ScheduleShutdown has for them.
const (
	PowerOff Action = "poweroff"
	Reboot   Action = "reboot"
	Halt     Action = "halt"
)

// Unit is the state of a daemon, in systemd's words.
type Unit struct {
	Description string
	Active, Sub string // ActiveState and SubState
	PID         int
	Restarts    int
}

// Units that there are.
const (
	Kubelet    = "kubelet.service"
	Containerd = "containerd.service"
)

// Host is the node that a Server speaks for. The functions are called by
// several goroutines, and are all needed.
type Host struct {
	Log Logger
	// Stop begins to stop the machine. The cause says who requests it.
	Stop func(a Action, cause string)
	// Unit returns the state of one of the units.
	Unit func(name string) Unit
	// RestartUnit returns when the daemon is ready again, or cannot be.
	RestartUnit func(name, cause string) error
	// StaticHostname is what /etc/hostname says, "" for nothing.
	StaticHostname func() string
	// SetStaticHostname writes /etc/hostname, or removes it for "".
	SetStaticHostname func(name, cause string) error
	// SetHostname names the node unless /etc/hostname does.
	SetHostname func(name, cause string) error
}

// Server is the bus. Make it with Listen and let a goroutine call Run.
type Server struct {
	host     Host
	listener *net.UnixListener
	id       string // of this bus, 32 hex digits
	root     uint32 // the user who may change things: 0 but in tests
	services []*service
	files    files
	login    *login
	jobs     jobs // under mu
	serial   atomic.Uint32

	mu      sync.Mutex
	clients map[string]*client // by unique name
	count   map[uint32]int     // connections by user, also those without a name
	next    int                // number of the next unique name
	refused time.Time          // when a refusal was logged last
}

// Listen opens the socket, for everybody.
func Listen(path string, host Host) (*Server, error) {
	// Anybody may connect, as on every system: what a client may do depends on
	// who it is.
	l, err := unixsocket.Listen(path, 0o666)
	if err != nil {
		return nil, err
	}
	s := newServer(host)
	s.listener = l
	return s, nil
}

func newServer(host Host) *Server {
	id := make([]byte, 16)
	rand.Read(id)
	s := &Server{host: host, id: hex.EncodeToString(id), clients: map[string]*client{}, count: map[uint32]int{}, files: newFiles()}
	s.login = &login{server: s}
	s.services = []*service{
		{name: driverName, unique: driverName, objects: s.driverObjects(), files: s.files},
		{name: loginName, unique: ":1.0", objects: s.login.objects(), files: s.files},
		{name: systemdName, unique: ":1.1", objects: s.systemdObjects(), files: s.files},
		{name: hostnameName, unique: ":1.2", objects: s.hostnameObjects(), files: s.files},
	}
	s.next = len(s.services) - 1
	return s
}

// Run serves until Close is called.
func (s *Server) Run() { unixsocket.Serve(s.listener, maxSockets, s.warn, s.serve) }

func (s *Server) warn(format string, args ...any) { s.host.Log.Warn("bus: "+format, args...) }

// Close ends Run, removes the socket and leaves the clients.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.close()
	}
	return err
}

// refuse logs why a client was turned away, but no more than once a second: clients
// must not fill the log.
func (s *Server) refuse(format string, args ...any) {
	s.mu.Lock()
	quiet := time.Since(s.refused) < time.Second
	if !quiet {
		s.refused = time.Now()
	}
	s.mu.Unlock()
	if !quiet {
		s.host.Log.Info("bus: "+format, args...)
	}
}

// admit counts a connection, or says why there is no room for it.
func (s *Server) admit(uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, n := range s.count {
		total += n
	}
	strangers := total - s.count[0]
	switch {
	case total >= maxClients:
		return fmt.Errorf("there are %d clients already", total)
	case uid != 0 && strangers >= maxStrangers:
		return fmt.Errorf("there are %d clients already that are not root's", strangers)
	case uid != 0 && s.count[uid] >= maxOfOneStranger:
		return fmt.Errorf("there are %d clients of user %d already", s.count[uid], uid)
	}
	s.count[uid]++
	return nil
}

// leave forgets a connection.
func (s *Server) leave(c *client) {
	s.mu.Lock()
	name := c.name
	delete(s.clients, name)
	if s.count[c.uid]--; s.count[c.uid] == 0 {
		delete(s.count, c.uid)
	}
	s.mu.Unlock()
	if name != "" {
		s.nameOwnerChanged(name, name, "")
	}
}

// enter gives a client its unique name.
func (s *Server) enter(c *client) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.name = fmt.Sprintf(":1.%d", s.next)
	s.next++
	s.clients[c.name] = c
	return c.name
}

// client returns the client with a unique name, or nil.
func (s *Server) client(name string) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[name]
}

// service returns the service with a name, or nil.
func (s *Server) service(name string) *service {
	for _, v := range s.services {
		if name == v.name || name == v.unique {
			return v
		}
	}
	return nil
}

// emit sends a signal of a service to the clients whose match rules it fits.
func (s *Server) emit(from *service, path dbuswire.ObjectPath, iface, member string, sig dbuswire.Signature, args ...any) {
	m := &dbuswire.Message{
		Type: dbuswire.Signal, Flags: dbuswire.NoReply, Serial: s.serial.Add(1), Sender: from.unique,
		Path: path, Interface: iface, Member: member, Signature: sig, Body: args,
	}
	text, err := m.Encode()
	if err != nil {
		s.host.Log.Warn("bus: %v", err)
		return
	}
	s.mu.Lock()
	clients := make([]*client, 0, len(s.clients))
	for _, c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	for _, c := range clients {
		if slices.ContainsFunc(c.matches(), func(r rule) bool { return r.matches(m, from) }) {
			c.offer(packet{text: text})
		}
	}
}
