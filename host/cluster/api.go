package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"kios/host/kubeconfig"
)

// API reads from an API server what a person is told about a cluster. It knows
// few fields, and imports nothing of Kubernetes.
type API struct {
	server string
	http   *http.Client
}

// attempt bounds one request: until the guest listens, QEMU accepts
// connections in its place, and nobody answers.
const attempt = 10 * time.Second

// NewAPI returns a client for the cluster and user of a kubeconfig.
func NewAPI(text []byte) (*API, error) {
	k, err := kubeconfig.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse kubeconfig: %w", err)
	}
	c, u, err := k.Current()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cert, key, err := u.Pair()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: client certificate: %w", err)
	}
	ca, err := c.CA()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the kubeconfig has no certificate of an authority")
	}
	return &API{server: c.Server, http: &http.Client{
		Timeout:   attempt,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}},
	}}, nil
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
func (a *API) Close() { a.http.CloseIdleConnections() }

// Get returns the body of a path.
func (a *API) Get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s: %.300s", path, response.Status, body)
	}
	return body, nil
}

// Healthy is nil if the API server says that it is ready.
func (a *API) Healthy(ctx context.Context) error {
	_, err := a.Get(ctx, "/readyz")
	return err
}

// list reads a list of objects.
func list[T any](ctx context.Context, a *API, path string) ([]T, error) {
	body, err := a.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	var l struct {
		Items []T `json:"items"`
	}
	if err := json.Unmarshal(body, &l); err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	return l.Items, nil
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
