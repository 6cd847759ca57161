// Containerd-shim-runc-v2 is containerd's shim with one shortcut: what takes
// its own process a few system calls, it does itself instead of starting runc
// for it (package direct). What runc has to decide, runc still does.
package main

import (
	"context"
	"os"
	"path/filepath"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/go-runc"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"kios/upstream/containerd/shim/direct"
	"kios/upstream/containerd/shim/sandbox"
)

func main() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn:   newTaskService,
	})
	shim.RunShim(context.Background(), cleaner{manager.NewShimManager("io.containerd.runc.v2")})
}

// newTaskService returns the service of upstream's plugin "task", which makes
// its reaper the monitor of all runs of runc, and puts ours before it.
func newTaskService(ic *plugin.InitContext) (any, error) {
	publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
	if err != nil {
		return nil, err
	}
	stop, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
	if err != nil {
		return nil, err
	}
	service, err := task.NewTaskService(ic.Context, publisher.(shim.Publisher), stop.(shutdown.Service))
	if err != nil {
		return nil, err
	}
	runc.Monitor = direct.New(runc.Monitor)
	return service, nil
}

// cleaner is the manager of shims with two things more: only the node's own pods share a
// shim, and after a shim that died, runc does not know the sandbox that it had started.
type cleaner struct{ shim.Shim }

// Start starts the shim of a pod, or finds the one that it shares.
func (c cleaner) Start(ctx context.Context, opts *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	if err := allowGroup("config.json"); err != nil { // where upstream looks for it
		return nil, err
	}
	return c.Shim.Start(ctx, opts)
}

func (c cleaner) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	if dir, err := os.Getwd(); err == nil { // as upstream finds the bundle
		if err := sandbox.Clean(filepath.Join(filepath.Dir(dir), id)); err != nil {
			log.G(ctx).WithError(err).Warn("end the sandbox of a shim that died")
		}
	}
	return c.Shim.Stop(ctx, id)
}
