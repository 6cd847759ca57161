// Package runtimeinfo tells CRI what the runtime runc can do. CRI asks when it
// starts. containerd would run the shim for that, which would run runc: these two
// starts of programs take more than half of containerd's own start. The answer is
// known when the node is built, because runc is built with it.
//
// Once CRI is ready, and for any other runtime, the shim is asked.
package runtimeinfo

import (
	"context"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	v2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/plugin"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// runtime and binary are what the answer holds for.
const (
	runtime = "io.containerd.runc.v2"
	binary  = "/bin/runc"
)

// known holds the three facts about runc 1.5 that CRI looks at: recursive
// read-only mounts, user namespaces and id-mapped mounts. A test compares them
// with what `runc features` prints.
var known = features.Features{
	OCIVersionMin: "1.0.0",
	OCIVersionMax: "1.3.0",
	MountOptions:  []string{"ro", "rro"},
	Linux: &features.Linux{
		Namespaces:      []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
		MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: new(true)}},
	},
}

// Wrap returns init, the constructor of containerd's task manager, with our
// answer in front of the manager's own until ready is closed.
func Wrap(init func(*plugin.InitContext) (any, error), ready <-chan struct{}) func(*plugin.InitContext) (any, error) {
	return func(ic *plugin.InitContext) (any, error) {
		m, err := init(ic)
		if err != nil {
			return nil, err
		}
		return &taskManager{TaskManager: m.(*v2.TaskManager), ready: ready}, nil
	}
}

type taskManager struct {
	*v2.TaskManager
	ready <-chan struct{}
}

// PluginInfo is the method that CRI's introspection arrives at.
func (m *taskManager) PluginInfo(ctx context.Context, request any) (any, error) {
	select {
	case <-m.ready:
	default:
		if req, ok := request.(*types.RuntimeRequest); ok && isOurs(req) {
			return answer(req)
		}
	}
	return m.TaskManager.PluginInfo(ctx, request)
}

// isOurs tells whether the request is about the runc that was built with this
// containerd.
func isOurs(req *types.RuntimeRequest) bool {
	if req.GetRuntimePath() != runtime || req.GetOptions() == nil {
		return false
	}
	decoded, err := typeurl.UnmarshalAny(req.GetOptions())
	if err != nil {
		return false
	}
	opts, ok := decoded.(*options.Options)
	return ok && opts.GetBinaryName() == binary
}

func answer(req *types.RuntimeRequest) (*types.RuntimeInfo, error) {
	encoded, err := typeurl.MarshalAnyToProto(&known)
	if err != nil {
		return nil, err
	}
	return &types.RuntimeInfo{
		Name:     runtime,
		Version:  &types.RuntimeVersion{Version: version.Version, Revision: version.Revision},
		Options:  req.GetOptions(),
		Features: encoded,
	}, nil
}
