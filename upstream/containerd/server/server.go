// Package server is containerd's gRPC server on a socket that init made and
// keeps, in the place of the built-in plugin io.containerd.server.v1.grpc.
//
// A client may connect before containerd runs, and while it restarts: its
// connection waits in the socket's backlog. Calls to CRI wait until CRI is
// initialised, so that a kubelet started together with containerd never sees
// "not ready", on which it exits. And calls about an image wait for archives
// that are still being imported and may bring it. All of this is bounded by
// the deadline of the call itself.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/sys"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"

	"kios/upstream/containerd/apparmor"
	"kios/upstream/containerd/importer"
)

// processStart is about when containerd was started.
var processStart = time.Now()

// Options are what the plugin gets from main.
type Options struct {
	// Listener is the socket that was inherited. If it is nil, the plugin
	// listens on its configured address.
	Listener net.Listener
	// CRIReady is closed when CRI is initialised.
	CRIReady <-chan struct{}
	// Watchdog is within which time Alive has to be called again, or 0.
	Watchdog time.Duration
	// Alive tells init that CRI answers.
	Alive func()
	// CRIFailed is called when CRI did not load. If it returns, the server
	// serves what there is.
	CRIFailed func(error)
}

// config has the fields of the plugin that ours replaces, so that the same
// configuration file works for both.
type config struct {
	Address        string `toml:"address"`
	UID            int    `toml:"uid"`
	GID            int    `toml:"gid"`
	MaxRecvMsgSize int    `toml:"max_recv_message_size"`
	MaxSendMsgSize int    `toml:"max_send_message_size"`
}

// Register registers the plugin.
func Register(o Options) {
	registry.Register(&plugin.Registration{
		Type:     plugins.ServerPlugin,
		ID:       "grpc",
		Requires: []plugin.Type{plugins.GRPCPlugin, plugins.InternalPlugin},
		Config: &config{
			Address:        defaults.DefaultAddress,
			UID:            os.Geteuid(),
			GID:            os.Getegid(),
			MaxRecvMsgSize: defaults.DefaultMaxRecvMsgSize,
			MaxSendMsgSize: defaults.DefaultMaxSendMsgSize,
		},
		InitFn: func(ic *plugin.InitContext) (any, error) { return newServer(ic, o) },
	})
}

// server serves all plugins of type GRPCPlugin. containerd calls Start when
// every plugin is loaded.
type server struct {
	*grpc.Server
	config   *config
	listener net.Listener
	criReady <-chan struct{}
	eachBoot eachBoot
	serves   chan struct{} // closed when calls to CRI are let in
	yielding *yielding
	watchdog *watchdog // nil if init wants none
	ready    func()    // containerd may say READY=1
}

func newServer(ic *plugin.InitContext, o Options) (*server, error) {
	c := ic.Config.(*config)
	if o.Listener == nil && c.Address == "" {
		return nil, fmt.Errorf("address is empty: %w", errdefs.ErrInvalidArgument)
	}
	criReady := o.CRIReady
	cri, err := ic.GetByID(plugins.GRPCPlugin, "cri")
	if err != nil {
		o.CRIFailed(err)
		criReady = closed()
	}
	s := &server{
		config: c, listener: o.Listener, criReady: criReady, serves: make(chan struct{}),
		eachBoot: newEachBoot(ic, cri), yielding: newYielding(processStart),
	}
	if o.Watchdog > 0 {
		s.watchdog = &watchdog{address: c.Address, every: o.Watchdog / 2, alive: o.Alive}
	}
	confined := &confinement{profiles: apparmor.Profiles}
	s.Server = grpc.NewServer(
		grpc.ChainUnaryInterceptor(namespaceUnary, waitForCRI(s.serves).unary, s.yielding.unary, confined.unary, waitForImages(archives(ic))),
		grpc.ChainStreamInterceptor(namespaceStream, waitForCRI(s.serves).stream),
		grpc.MaxRecvMsgSize(c.MaxRecvMsgSize),
		grpc.MaxSendMsgSize(c.MaxSendMsgSize),
	)
	if err := registerServices(ic, s.Server); err != nil {
		return nil, err
	}
	s.ready = ic.RegisterReadiness() // last: a plugin may not fail after it
	return s, nil
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// archives returns the importer, or nil if it was disabled.
func archives(ic *plugin.InitContext) pendingImages {
	i, err := ic.GetByID(plugins.InternalPlugin, importer.ID)
	if err != nil {
		return nil
	}
	return i.(*importer.Importer)
}

// registerServices registers the services of all plugins that loaded. One that
// did not has been logged and must not keep the others from being served.
func registerServices(ic *plugin.InitContext, s *grpc.Server) error {
	for _, p := range ic.GetAll() {
		if p.Registration.Type != plugins.GRPCPlugin {
			continue
		}
		instance, err := p.Instance()
		if err != nil {
			continue
		}
		service, ok := instance.(interface{ Register(*grpc.Server) error })
		if !ok {
			continue
		}
		if err := service.Register(s); err != nil {
			return fmt.Errorf("register %s: %w", p.Registration.URI(), err)
		}
	}
	return nil
}

// Start serves in the background, and reports readiness when CRI is
// initialised as well.
func (s *server) Start(ctx context.Context) error {
	l := s.listener
	if l == nil {
		var err error
		if l, err = sys.GetLocalListener(s.config.Address, s.config.UID, s.config.GID); err != nil {
			return fmt.Errorf("listen on %s: %w", s.config.Address, err)
		}
	}
	log.G(ctx).WithField("address", l.Addr()).WithField("inherited", s.listener != nil).Info("serving")
	go func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			log.G(ctx).WithError(err).Fatal("serve failure")
		}
	}()
	go func() {
		select {
		case <-s.criReady:
			s.eachBoot.forget(ctx)
			close(s.serves)
			s.yielding.ready(time.Now())
			s.ready()
		case <-ctx.Done():
			return
		}
		if s.watchdog != nil {
			s.watchdog.run(ctx)
		}
	}()
	return nil
}

// Close ends all connections. An inherited socket lives on: init has it, too.
func (s *server) Close() error {
	s.Stop()
	return nil
}
