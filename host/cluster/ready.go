package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kios/host/terminal"
)

// system is the namespace whose pods make a cluster whole. What its user runs
// beside them may be broken without keeping it from being up.
const system = "kube-system"

// snapshot is what the API server says at one time.
type snapshot struct {
	nodes       []apiNode
	pods        []apiPod
	deployments []workload
	daemonSets  []workload
}

// fromMemory asks for what the API server has in its memory, which is seconds old
// at most. Without it the answer waits for etcd, and makes etcd tell each watcher
// how far it is: work for a control plane that has its start to do.
const fromMemory = "?resourceVersion=0"

func (a *API) snapshot(ctx context.Context) (s snapshot, err error) {
	var errs [4]error
	s.nodes, errs[0] = list[apiNode](ctx, a, "/api/v1/nodes"+fromMemory)
	s.pods, errs[1] = list[apiPod](ctx, a, "/api/v1/namespaces/"+system+"/pods"+fromMemory)
	s.deployments, errs[2] = list[workload](ctx, a, "/apis/apps/v1/namespaces/"+system+"/deployments"+fromMemory)
	s.daemonSets, errs[3] = list[workload](ctx, a, "/apis/apps/v1/namespaces/"+system+"/daemonsets"+fromMemory)
	return s, errors.Join(errs[:]...)
}

// missing says what keeps the cluster from being whole; nothing if it is. What
// was reported before a machine's power-on, which since has, is of an earlier
// boot and does not count.
func (s snapshot) missing(since map[string]time.Time) []string {
	reasons := s.nodesMissing(since)
	for _, w := range s.deployments {
		if want := w.replicas(); w.Status.Observed < w.Metadata.Generation || w.Status.Ready < want {
			reasons = append(reasons, fmt.Sprintf("deployment %s: %d of %d pods ready", w.Metadata, w.Status.Ready, want))
		}
	}
	for _, w := range s.daemonSets {
		if w.Status.Observed < w.Metadata.Generation || w.Status.Running < w.Status.Desired {
			reasons = append(reasons, fmt.Sprintf("daemon set %s: %d of %d pods ready", w.Metadata, w.Status.Running, w.Status.Desired))
		}
	}
	for _, p := range s.pods {
		if why := p.notRunning(since[p.Spec.Node]); why != "" {
			reasons = append(reasons, "pod "+p.Metadata.String()+": "+why)
		}
	}
	return reasons
}

// nodesMissing says which of these nodes are not Ready, and why.
func (s snapshot) nodesMissing(since map[string]time.Time) (reasons []string) {
	for _, name := range sortedNames(since) {
		if why := s.node(name).notReady(since[name]); why != "" {
			reasons = append(reasons, "node "+name+": "+why)
		}
	}
	return reasons
}

func sortedNames(m map[string]time.Time) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// node returns a node, or one without a name.
func (s snapshot) node(name string) apiNode {
	for _, n := range s.nodes {
		if n.Metadata.Name == name {
			return n
		}
	}
	return apiNode{}
}

func (n apiNode) notReady(since time.Time) string {
	ready := find(n.Status.Conditions, "Ready")
	switch {
	case n.Metadata.Name == "":
		return "has not joined"
	case ready.Heartbeat.Before(since.Truncate(time.Second)):
		return "has not reported since its power-on"
	case ready.Status != "True":
		return "not ready: " + brief(ready.Reason+": "+ready.Message)
	}
	return ""
}

// replicas is a Deployment's number of pods; 1 if it does not say.
func (w workload) replicas() int {
	if w.Spec.Replicas == nil {
		return 1
	}
	return *w.Spec.Replicas
}

// notRunning does not mind pods that have ended: what they belong to has others,
// or is done.
func (p apiPod) notRunning(since time.Time) string {
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" || p.Metadata.Deleted != nil {
		return ""
	}
	for _, c := range slices.Concat(p.Status.Init, p.Status.Containers) {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing":
			return brief(fmt.Sprintf("container %s is waiting: %s %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message))
		case c.State.Terminated != nil && c.State.Terminated.Exit != 0:
			return fmt.Sprintf("container %s exited with code %d: %s", c.Name, c.State.Terminated.Exit, c.State.Terminated.Reason)
		case c.State.Running != nil && c.State.Running.Since.Before(since.Truncate(time.Second)):
			return "has not reported since its node's power-on"
		}
	}
	if p.Status.Phase != "Running" {
		scheduled := find(p.Status.Conditions, "PodScheduled")
		return brief(strings.Join([]string{strings.ToLower(p.Status.Phase), scheduled.Message}, " "))
	}
	if ready := find(p.Status.Conditions, "Ready"); ready.Status != "True" {
		return brief("not ready: " + ready.Message)
	}
	return ""
}

// warnings returns the last few of the cluster's warnings.
func (a *API) warnings(ctx context.Context) []string {
	events, err := list[event](ctx, a, "/api/v1/events?fieldSelector=type%3DWarning&limit=500")
	if err != nil {
		return nil
	}
	slices.SortFunc(events, func(a, b event) int { return a.time().Compare(b.time()) })
	var lines []string
	for _, e := range events[max(0, len(events)-8):] {
		lines = append(lines, brief(fmt.Sprintf("%s %s/%s: %s: %s", strings.ToLower(e.Object.Kind), e.Object.Namespace, e.Object.Name, e.Reason, e.Message)))
	}
	return lines
}

// brief makes a message short enough to stand in a list.
func brief(text string) string {
	text = strings.Trim(terminal.OneLine(text), ": ")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "..."
	}
	return text
}
