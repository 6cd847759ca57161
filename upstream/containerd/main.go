// Containerd is the unmodified containerd with the plugins that a Kubernetes
// node needs and a few of our own: a gRPC server on a socket that init holds
// and that never answers "not ready", an importer of image archives, reports
// of container starts and exits to init, and a differ that survives power cuts.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"kios/upstream/containerd/differ"
	"kios/upstream/containerd/importer"
	"kios/upstream/containerd/nodeevents"
	"kios/upstream/containerd/runtimeinfo"
	"kios/upstream/containerd/server"
)

// userConfig is laid over the configuration of the node when it is there, in
// the file layeredConfig.
const (
	userConfig    = "/etc/containerd/config.toml"
	layeredConfig = "/run/kios/containerd.toml"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listener, err := server.Inherited()
	if err != nil {
		return err
	}
	notify := nodeevents.Open(os.Getenv("NOTIFY_SOCKET"))
	differ.Register()
	importer.Register(notify)
	nodeevents.Register(notify)

	args, usesUserConfig := chooseConfig(ctx, os.Args, userConfig, layeredConfig)
	server.Register(server.Options{
		Listener:  listener,
		CRIReady:  wrapRegistrations(),
		CRIFailed: func(reason error) { rejectUserConfig(usesUserConfig, reason) },
	})
	return command.App().Run(ctx, args)
}

// wrapRegistrations puts our hooks around two of containerd's plugins, which
// is what the registry offers instead of a patch: it returns a channel that is
// closed when CRI is initialised, and gives the runtime answers of its own.
func wrapRegistrations() (criReady <-chan struct{}) {
	ready := make(chan struct{})
	all := registry.Graph(nil)
	registry.Reset()
	for i := range all {
		r := &all[i]
		switch r.URI() {
		case "io.containerd.grpc.v1.cri":
			r.InitFn = closeWhenReady(ready, r.InitFn)
		case "io.containerd.runtime.v2.task":
			r.InitFn = runtimeinfo.Wrap(r.InitFn, ready)
		}
		registry.Register(r)
	}
	return ready
}

type initFunc = func(*plugin.InitContext) (any, error)

// closeWhenReady closes ready when the plugin reports its readiness.
func closeWhenReady(ready chan struct{}, init initFunc) initFunc {
	return func(ic *plugin.InitContext) (any, error) {
		register := ic.RegisterReadiness
		ic.RegisterReadiness = func() func() {
			done := register()
			return func() {
				close(ready)
				done()
			}
		}
		return init(ic)
	}
}
