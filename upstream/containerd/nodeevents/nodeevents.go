package nodeevents

import (
	"context"
	"fmt"
	"strconv"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/typeurl/v2"
)

// Register registers the plugin that reports the starts and exits of the
// containers of pods. Sandboxes are not reported.
func Register(n *Notifier) {
	registry.Register(&plugin.Registration{
		Type:     plugins.InternalPlugin,
		ID:       "kios-events",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.MetadataPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			if n == nil {
				return nil, fmt.Errorf("nobody listens to NOTIFY_SOCKET: %w", plugin.ErrSkipPlugin)
			}
			exchange, err := ic.GetSingle(plugins.EventPlugin)
			if err != nil {
				return nil, err
			}
			db, err := ic.GetSingle(plugins.MetadataPlugin)
			if err != nil {
				return nil, err
			}
			r := newReporter(metadata.NewContainerStore(db.(*metadata.DB)), n.Send)
			ch, _ := exchange.(events.Subscriber).Subscribe(ic.Context, `topic=="/tasks/start"`, `topic=="/tasks/exit"`)
			go r.run(ic.Context, ch)
			return r, nil
		},
	})
}

// reporter turns events about tasks into datagrams.
type reporter struct {
	containers interface {
		Get(ctx context.Context, id string) (containers.Container, error)
	}
	send func(event string, fields ...string)

	// running remembers who a running task belongs to: its container's record
	// may be gone when its exit is reported.
	running map[string]owner
}

func newReporter(store containers.Store, send func(string, ...string)) *reporter {
	return &reporter{containers: store, send: send, running: map[string]owner{}}
}

// owner names a container as Kubernetes does.
type owner struct{ namespace, pod, container string }

func (r *reporter) run(ctx context.Context, ch <-chan *events.Envelope) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-ch:
			if !ok {
				return
			}
			r.handle(ctx, e)
		}
	}
}

func (r *reporter) handle(ctx context.Context, e *events.Envelope) {
	decoded, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return
	}
	ctx = namespaces.WithNamespace(ctx, e.Namespace)
	switch t := decoded.(type) {
	case *apievents.TaskStart:
		if o, ok := r.owner(ctx, t.ContainerID); ok {
			r.running[t.ContainerID] = o
			r.send("container-started", o.fields()...)
		}
	case *apievents.TaskExit:
		if t.ID != t.ContainerID {
			return // the end of an exec
		}
		if o, ok := r.owner(ctx, t.ContainerID); ok {
			delete(r.running, t.ContainerID)
			r.send("container-exited", append(o.fields(), "EXIT", strconv.Itoa(int(t.ExitStatus)))...)
		}
	}
}

// owner returns who a task belongs to, and false if it is not the task of a
// pod's container.
func (r *reporter) owner(ctx context.Context, id string) (owner, bool) {
	if o, ok := r.running[id]; ok {
		return o, true
	}
	c, err := r.containers.Get(ctx, id)
	if err != nil || c.Labels["io.cri-containerd.kind"] != "container" {
		return owner{}, false
	}
	return owner{
		namespace: c.Labels["io.kubernetes.pod.namespace"],
		pod:       c.Labels["io.kubernetes.pod.name"],
		container: c.Labels["io.kubernetes.container.name"],
	}, true
}

func (o owner) fields() []string {
	return []string{"NAMESPACE", o.namespace, "POD", o.pod, "CONTAINER", o.container}
}
