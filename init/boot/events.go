package boot

import (
	"fmt"
	"sync/atomic"
	"time"

	"kios/init/notify"
	"kios/init/timeline"
	"kios/internal/consoleline"
)

// When the boot counts as over, after the kubelet is ready.
const (
	quietBound  = 3 * time.Second  // print the table when a container runs and nothing has happened for this long,
	tableBound  = 30 * time.Second // or after this,
	recordBound = time.Minute      // and end the record after this
)

// reports is what the daemons' messages leave behind.
type reports struct {
	started    atomic.Bool  // a container of a pod has run
	watched    atomic.Bool  // watchBoot has been started
	containers atomic.Int64 // that were started, without sandboxes
	grace      atomic.Int64 // what the kubelet gives pods when the node stops, a time.Duration
}

// receive logs and records what a daemon reports.
func (n *Node) receive(sender string, m notify.Message) {
	if daemon := n.daemons.named(sender); m.Alive && daemon != nil {
		daemon.Alive()
	}
	switch m.Kind {
	case "": // nothing else
	case notify.Joining:
		n.joinCluster(sender, m.Cluster)
	case notify.Providers:
		n.useProviders(sender)
	case notify.ShutdownGrace:
		n.reports.grace.Store(int64(m.Took))
		n.Log.Info("the kubelet gives pods %v when the node stops", m.Took)
	default:
		n.record(sender, m)
	}
}

// record keeps a message in the timeline as long as that is open, and logs it.
func (n *Node) record(sender string, m notify.Message) {
	event, took := eventOf(sender, m)
	booting := n.Timeline.Add(event, took)
	log := n.Log.InfoLine // a node that runs for months does not need its console
	if booting || n.stopping.isSet() || m.Kind == notify.Ready {
		log = n.Log.NoticeLine
	}
	if m.Kind == notify.ImageFailed {
		n.Log.Error("image %s is skipped: %s", m.Archive, m.Error)
	} else {
		log(lineOf(sender, m))
	}
	switch m.Kind {
	case notify.Ready:
		n.daemons.setReady(sender)
		if sender == kubeletName && booting && n.reports.watched.CompareAndSwap(false, true) {
			n.spawn("end of the boot", n.watchBoot)
		}
	case notify.ContainerStarted:
		n.reports.started.Store(true)
		if m.Container != "" {
			n.reports.containers.Add(1)
		}
	}
	if booting {
		n.saveTimeline()
	}
}

// lineOf turns a message into a line of the console.
func lineOf(sender string, m notify.Message) consoleline.Line {
	switch m.Kind {
	case notify.ContainerStarted:
		return consoleline.Line{Kind: consoleline.Started, Namespace: m.Namespace, Pod: m.Pod, Container: m.Container}
	case notify.ContainerExited:
		return consoleline.Line{Kind: consoleline.Exited, Namespace: m.Namespace, Pod: m.Pod, Container: m.Container, Exit: m.Exit}
	case notify.ImageImported:
		return consoleline.Line{Kind: consoleline.Imported, Name: m.Archive, Took: m.Took}
	}
	return consoleline.Line{Kind: consoleline.Ready, Name: sender}
}

// eventOf turns a message into an entry of the timeline.
func eventOf(sender string, m notify.Message) (timeline.Event, time.Duration) {
	container := timeline.Event{Kind: "container", Name: fmt.Sprintf("%s/%s %s", m.Namespace, m.Pod, m.Container)}
	image := timeline.Event{Kind: "image", Name: m.Archive}
	switch m.Kind {
	case notify.ContainerStarted:
		container.State = "started"
		return container, 0
	case notify.ContainerExited:
		container.State = fmt.Sprintf("exited with code %d", m.Exit)
		return container, 0
	case notify.ImageImported:
		image.State = "imported"
		return image, m.Took
	case notify.ImageFailed:
		image.State, image.Error = "failed", m.Error
		return image, m.Took
	}
	return timeline.Event{Kind: "daemon", Name: sender, State: "ready"}, 0
}

// watchBoot ends the boot: it prints the table when the boot has become quiet, and
// closes the record.
func (n *Node) watchBoot() {
	ready := time.Now()
	for time.Since(ready) < tableBound && !(n.reports.started.Load() && n.Timeline.Quiet() >= quietBound) {
		time.Sleep(200 * time.Millisecond)
	}
	expedite(false)
	for _, line := range n.Timeline.Table() {
		n.Log.Notice("%s", line)
	}
	time.Sleep(recordBound - time.Since(ready))
	n.Timeline.Close()
	n.saveTimeline()
}
