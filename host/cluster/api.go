package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"kios/host/mtls"
	"kios/internal/kubeconfig"
)

// API reads from an API server what a person is told about a cluster. It knows
// few fields, and imports nothing of Kubernetes.
type API struct{ server *mtls.Client }

// attempt bounds one request: until the guest listens, QEMU accepts
// connections in its place, and nobody answers.
const attempt = 10 * time.Second

// NewAPI returns a client for the cluster and user of a kubeconfig.
func NewAPI(text []byte) (*API, error) {
	options, err := access(text)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	server, err := mtls.New(options)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &API{server}, nil
}

// access is what a kubeconfig says about its current server and user.
func access(text []byte) (o mtls.Options, err error) {
	k, err := kubeconfig.Parse(text)
	if err != nil {
		return o, err
	}
	c, u, err := k.Current()
	if err != nil {
		return o, err
	}
	o.URL, o.Timeout = c.Server, attempt
	if o.CA, err = c.CA(); err != nil {
		return o, err
	}
	o.Cert, o.Key, err = u.Pair()
	return o, err
}

// API returns a client for this cluster.
func (c *Cluster) API() (*API, error) {
	kubeconfig, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	return NewAPI(kubeconfig)
}

// Close drops idle connections.
func (a *API) Close() { a.server.Close() }

// Healthy is nil if the API server says that it is ready.
func (a *API) Healthy(ctx context.Context) error {
	_, err := a.server.Get(ctx, "/readyz")
	return shorten(err)
}

// list reads a list of objects.
func list[T any](ctx context.Context, a *API, path string) ([]T, error) {
	var l struct {
		Items []T `json:"items"`
	}
	err := a.server.GetJSON(ctx, path, &l)
	return l.Items, shorten(err)
}

// shorten leaves a person the beginning of what an API server says, which may be
// pages about each of its checks.
func shorten(err error) error {
	if status, ok := errors.AsType[*mtls.StatusError](err); ok {
		status.Body = fmt.Sprintf("%.300s", status.Body)
	}
	return err
}

// meta is as much of ObjectMeta as is used.
type meta struct {
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Generation int64      `json:"generation"`
	Deleted    *time.Time `json:"deletionTimestamp"`
}

func (m meta) String() string {
	if m.Namespace == "" {
		return m.Name
	}
	return m.Namespace + "/" + m.Name
}

// condition is one of a node or of a pod.
type condition struct {
	Type      string    `json:"type"`
	Status    string    `json:"status"`
	Reason    string    `json:"reason"`
	Message   string    `json:"message"`
	Heartbeat time.Time `json:"lastHeartbeatTime"`
}

func find(conditions []condition, kind string) condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return condition{}
}

type apiNode struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Unschedulable bool `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
		NodeInfo   struct {
			KubeletVersion string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

type apiPod struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Node string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase      string            `json:"phase"`
		Conditions []condition       `json:"conditions"`
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name  string `json:"name"`
	State struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
		Running *struct {
			Since time.Time `json:"startedAt"`
		} `json:"running"`
		Terminated *struct {
			Reason string `json:"reason"`
			Exit   int    `json:"exitCode"`
		} `json:"terminated"`
	} `json:"state"`
}

// workload is a Deployment or a DaemonSet.
type workload struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Replicas *int `json:"replicas"`
	} `json:"spec"`
	Status struct {
		Observed int64 `json:"observedGeneration"`
		Ready    int   `json:"readyReplicas"`          // of a Deployment
		Desired  int   `json:"desiredNumberScheduled"` // of a DaemonSet
		Running  int   `json:"numberReady"`            // of a DaemonSet
	} `json:"status"`
}

type event struct {
	Metadata meta   `json:"metadata"`
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Object   struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"involvedObject"`
	Last time.Time `json:"lastTimestamp"`
	At   time.Time `json:"eventTime"` // of those who do not set the other
}

func (e event) time() time.Time {
	if e.Last.IsZero() {
		return e.At
	}
	return e.Last
}
