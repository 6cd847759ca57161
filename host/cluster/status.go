package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kios/host/qemu"
)

// Status is how a cluster is.
type Status struct {
	Nodes   []NodeStatus
	Network error    // why machines that run do not reach each other, or this host them
	API     error    // why the API server does not answer
	Missing []string // what is not as it should be, if the API server answers
}

// NodeStatus is how one node is.
type NodeStatus struct {
	Node
	Running bool
	Since   time.Time // power-on
	Paused  string    // why the machine stands still, or ""
	State   string    // as the API server has it: Ready, NotReady, ..., or "-"
	Kubelet string    // its version, or "-"
}

// Stopped reports whether no machine runs.
func (s Status) Stopped() bool {
	for _, n := range s.Nodes {
		if n.Running {
			return false
		}
	}
	return true
}

// Complete reports whether all that belongs to the cluster runs.
func (s Status) Complete() bool {
	return !s.Stopped() && s.Network == nil && s.API == nil && len(s.Missing) == 0
}

// Status looks at the machines, and asks the API server if they run.
func (c *Cluster) Status(ctx context.Context) (s Status, err error) {
	since := map[string]time.Time{}
	for _, n := range c.Nodes {
		now := NodeStatus{Node: n, State: "-", Kubelet: "-"}
		m, err := c.Machine(n.Name)
		if err != nil && !errors.Is(err, qemu.ErrNotRunning) {
			return s, err
		}
		if err == nil {
			now.Running, now.Since, now.Paused = true, m.Since, paused(ctx, m)
			m.Close()
		}
		since[n.Name] = now.Since
		s.Nodes = append(s.Nodes, now)
	}
	if s.Stopped() {
		return s, nil
	}
	network, err := c.Switch()
	if err != nil {
		s.Network = fmt.Errorf("%w; stop the cluster with kios cluster down and start it again (the cause is in %s)", err, c.path("network/qemu.log"))
		return s, nil
	}
	network.Close()
	s.API = c.ask(ctx, &s, since)
	return s, nil
}

// paused asks for a short time: another client may have the machine's monitor.
func paused(ctx context.Context, m *qemu.Detached) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return m.Paused(ctx)
}

// ask fills in what the API server knows.
func (c *Cluster) ask(ctx context.Context, s *Status, since map[string]time.Time) error {
	a, err := c.API()
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Healthy(ctx); err != nil {
		return err
	}
	now, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	for i, n := range s.Nodes {
		if known := now.node(n.Name); known.Metadata.Name != "" {
			s.Nodes[i].State = known.state(since[n.Name])
			s.Nodes[i].Kubelet = known.Status.NodeInfo.KubeletVersion
		}
	}
	s.Missing = now.missing(since)
	return nil
}

// state is the STATUS of "kubectl get nodes".
func (n apiNode) state(since time.Time) string {
	state := map[string]string{"True": "Ready", "False": "NotReady"}[find(n.Status.Conditions, "Ready").Status]
	if state == "" || n.notReady(since) != "" && state == "Ready" {
		state = "Unknown"
	}
	if n.Spec.Unschedulable {
		state += ",SchedulingDisabled"
	}
	return state
}
