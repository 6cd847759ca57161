package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"kios/host/kubeletapi"
	"kios/host/terminal"
)

// cniHint helps with the one thing about a node without a cluster that an
// ordinary manifest does not expect.
const cniHint = "the pod waits for a pod network, which this node does not have: add hostNetwork: true to its spec, or a CNI configuration to DIR/cni/net.d of --etc DIR"

// podTable lists the containers, and below them why those wait that do.
func podTable(pods []kubeletapi.Pod, poweredOn time.Time, noCNI bool) string {
	var b, notes strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tPOD\tCONTAINER\tIMAGE\tSTATE\tSINCE\tRESTARTS")
	for _, p := range pods {
		for _, c := range shown(p) {
			state, since := stateOf(p, c)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", p.Namespace, p.Name, c.Name, c.Image, state, sinceText(since, poweredOn), c.Restarts)
			if text := message(c); text != "" {
				fmt.Fprintf(&notes, "%s/%s: %s: %s\n", p.Namespace, p.Name, c.Name, text)
			}
		}
		if p.Message != "" {
			fmt.Fprintf(&notes, "%s/%s: %s\n", p.Namespace, p.Name, p.Message)
		}
		if noCNI && waitsForNetwork(p) {
			fmt.Fprintf(&notes, "%s/%s: %s\n", p.Namespace, p.Name, cniHint)
		}
	}
	t.Flush()
	return trimLines(b.String()) + notes.String()
}

// shown leaves out init containers that have done their work.
func shown(p kubeletapi.Pod) []kubeletapi.Container {
	active := slices.DeleteFunc(slices.Clone(p.Init), func(c kubeletapi.Container) bool {
		return c.Terminated != nil && c.Terminated.ExitCode == 0
	})
	return append(active, p.Containers...)
}

func stateOf(p kubeletapi.Pod, c kubeletapi.Container) (state string, since time.Time) {
	switch {
	case c.Running != nil:
		return "running", c.Running.StartedAt
	case c.Terminated != nil && c.Terminated.ExitCode == 0:
		return "completed", c.Terminated.FinishedAt
	case c.Terminated != nil:
		return fmt.Sprintf("exited %d", c.Terminated.ExitCode), c.Terminated.FinishedAt
	case c.Waiting != nil && c.Waiting.Reason != "":
		return "waiting: " + c.Waiting.Reason, time.Time{}
	case p.Phase == "Failed":
		return "failed: " + p.Reason, time.Time{}
	}
	return "pending", time.Time{}
}

// message is the reason for not running, if the kubelet gives one.
func message(c kubeletapi.Container) string {
	switch {
	case c.Waiting != nil && c.Waiting.Message != "":
		return terminal.OneLine(c.Waiting.Message)
	case c.Terminated != nil && c.Terminated.ExitCode != 0:
		return terminal.OneLine(strings.TrimSpace(c.Terminated.Reason + " " + c.Terminated.Message))
	}
	return ""
}

// sinceText is the time after power-on, on the guest's clock, which counts
// whole seconds here.
func sinceText(at, poweredOn time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprintf("+%ds", int(at.Sub(poweredOn).Round(time.Second).Seconds()))
}

func trimLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// waitsForNetwork reports whether a pod waits the way it does without a CNI
// configuration: the kubelet makes no sandbox for it, and says so in its log.
func waitsForNetwork(p kubeletapi.Pod) bool {
	return !p.HostNetwork && p.Phase == "Pending" && len(p.Containers) > 0 &&
		!slices.ContainsFunc(p.Containers, func(c kubeletapi.Container) bool {
			return c.Waiting == nil || c.Waiting.Reason != "ContainerCreating" && c.Waiting.Reason != "PodInitializing"
		})
}

// anyProblem reports whether something stands in the way of a pod, as opposed
// to a pod that is on its way.
func anyProblem(pods []kubeletapi.Pod, noCNI bool) bool {
	return slices.ContainsFunc(pods, func(p kubeletapi.Pod) bool {
		return p.Phase == "Failed" || noCNI && waitsForNetwork(p) || slices.ContainsFunc(shown(p), func(c kubeletapi.Container) bool {
			return message(c) != ""
		})
	})
}
