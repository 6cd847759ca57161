package kubeletapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pod is a pod and the state of its containers.
type Pod struct {
	Namespace   string
	Name        string
	UID         string
	Node        string
	HostNetwork bool
	Phase       string // Pending, Running, Succeeded or Failed
	Reason      string // why the kubelet refused or evicted the pod
	Message     string
	Init        []Container
	Containers  []Container
}

// Container is one container of a pod. Of Waiting, Running and Terminated at
// most one is set; none is before the kubelet has looked at the pod.
type Container struct {
	Name     string
	Image    string // as the manifest names it
	Ready    bool
	Restarts int

	Waiting    *Waiting
	Running    *Running
	Terminated *Terminated
	Last       *Terminated // how the previous run ended, after a restart
}

// Waiting says why a container does not run yet.
type Waiting struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Running says since when a container runs.
type Running struct {
	StartedAt time.Time `json:"startedAt"`
}

// Terminated says how a container ended.
type Terminated struct {
	ExitCode   int       `json:"exitCode"`
	Signal     int       `json:"signal"`
	Reason     string    `json:"reason"`
	Message    string    `json:"message"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

// Done reports whether the pod does what its manifest wants: all containers
// run, or the pod ended well.
func (p Pod) Done() bool {
	if p.Phase == "Succeeded" {
		return true
	}
	return len(p.Containers) > 0 && !slices.ContainsFunc(p.Containers, func(c Container) bool {
		return c.Running == nil && (c.Terminated == nil || c.Terminated.ExitCode != 0)
	})
}

// BaseName is the pod's name in its manifest: the kubelet adds the node's name
// to that of a pod from a file.
func (p Pod) BaseName() string { return strings.TrimSuffix(p.Name, "-"+p.Node) }

// Find returns the pod with the given namespace and name, where the name is
// the full one or that of the manifest.
func Find(pods []Pod, namespace, name string) (Pod, bool) {
	i := slices.IndexFunc(pods, func(p Pod) bool {
		return p.Namespace == namespace && (p.Name == name || p.BaseName() == name)
	})
	if i < 0 {
		return Pod{}, false
	}
	return pods[i], true
}

// podList is what the kubelet sends, in the words of the Kubernetes API.
type podList struct {
	Kind  string    `json:"kind"`
	Items []podItem `json:"items"`
}

type podItem struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		NodeName       string          `json:"nodeName"`
		HostNetwork    bool            `json:"hostNetwork"`
		InitContainers []containerSpec `json:"initContainers"`
		Containers     []containerSpec `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase    string            `json:"phase"`
		Reason   string            `json:"reason"`
		Message  string            `json:"message"`
		Init     []containerStatus `json:"initContainerStatuses"`
		Statuses []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerSpec struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type containerStatus struct {
	Name         string         `json:"name"`
	Ready        bool           `json:"ready"`
	RestartCount int            `json:"restartCount"`
	State        containerState `json:"state"`
	LastState    containerState `json:"lastState"`
}

type containerState struct {
	Waiting    *Waiting    `json:"waiting"`
	Running    *Running    `json:"running"`
	Terminated *Terminated `json:"terminated"`
}

func parsePods(body []byte) ([]Pod, error) {
	var list podList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("kubelet: parse /pods: %w", err)
	}
	if list.Kind != "PodList" {
		return nil, fmt.Errorf("kubelet: parse /pods: the answer's kind is %q, not PodList", list.Kind)
	}
	pods := make([]Pod, 0, len(list.Items))
	for _, item := range list.Items {
		pods = append(pods, item.pod())
	}
	slices.SortFunc(pods, func(a, b Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return pods, nil
}

func (i podItem) pod() Pod {
	return Pod{
		Namespace:   i.Metadata.Namespace,
		Name:        i.Metadata.Name,
		UID:         i.Metadata.UID,
		Node:        i.Spec.NodeName,
		HostNetwork: i.Spec.HostNetwork,
		Phase:       i.Status.Phase,
		Reason:      i.Status.Reason,
		Message:     i.Status.Message,
		Init:        containers(i.Spec.InitContainers, i.Status.Init),
		Containers:  containers(i.Spec.Containers, i.Status.Statuses),
	}
}

// containers joins what the manifest asks for with what is there. The status
// comes later than the specification, and in an order of its own.
func containers(specs []containerSpec, statuses []containerStatus) []Container {
	var out []Container
	for _, spec := range specs {
		c := Container{Name: spec.Name, Image: spec.Image}
		i := slices.IndexFunc(statuses, func(s containerStatus) bool { return s.Name == spec.Name })
		if i >= 0 {
			s := statuses[i]
			c.Ready, c.Restarts = s.Ready, s.RestartCount
			c.Waiting, c.Running, c.Terminated = s.State.Waiting, s.State.Running, s.State.Terminated
			c.Last = s.LastState.Terminated
		}
		out = append(out, c)
	}
	return out
}
