package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kios/internal/consoleline"
)

// Kind is what a message reports.
type Kind string

// The kinds of messages. Ready is READY=1 of sd_notify(3); the others are the
// values of X_KIOS_EVENT: Joining, Providers and ShutdownGrace are from our kubelet, the
// others from our containerd.
const (
	Ready            Kind = "ready"
	ContainerStarted Kind = "container-started"
	ContainerExited  Kind = "container-exited"
	ImageImported    Kind = "image-imported"
	ImageFailed      Kind = "image-failed"
	Joining          Kind = "joining"              // the kubelet wants to start again, into a cluster
	Providers        Kind = "credential-providers" // the kubelet wants to start again, with these
	ShutdownGrace    Kind = "shutdown-grace"       // how long the kubelet gives pods when the node stops
)

// Message is what one datagram says. Its texts are clean and short enough to
// be logged as they are.
type Message struct {
	Kind      Kind          // "" if there is none
	Alive     bool          // the daemon reports that it works (WATCHDOG=1)
	Namespace string        // of the pod
	Pod       string        //
	Container string        // "" for the pod's sandbox
	Archive   string        // the image archive's file name
	Error     string        // of an import
	Cluster   string        // URL of the API server to join
	Exit      int           // code of a container
	Took      time.Duration // of an import; or ShutdownGrace's
}

// Limits of what is taken from a datagram, in bytes.
const (
	maxDatagram = 4096
	maxName     = 256
	maxError    = 500
)

// maxTook is as long as anything may last: a node that is told to stop must do so
// one day, whatever grace the kubelet reports. systembus tells clients the same.
const maxTook = 24 * time.Hour

// Parse reads the lines KEY=VALUE of a datagram. It returns false for a datagram
// without anything that PID 1 acts on (STATUS= and so on). It ignores unknown keys; a
// bad value of a known key is an error.
func Parse(datagram []byte) (m Message, known bool, err error) {
	for line := range strings.SplitSeq(string(datagram), "\n") {
		key, value, found := strings.Cut(line, "=")
		if !found {
			continue
		}
		if err := m.set(key, value); err != nil {
			return Message{}, false, err
		}
	}
	return m, m.Kind != "" || m.Alive, nil
}

func (m *Message) set(key, value string) (err error) {
	switch key {
	case "READY":
		if value == "1" {
			m.Kind = Ready
		}
	case "WATCHDOG":
		m.Alive = value == "1"
	case "X_KIOS_EVENT":
		m.Kind, err = event(value)
	case "X_KIOS_NAMESPACE":
		m.Namespace = consoleline.Clean(value, maxName)
	case "X_KIOS_POD":
		m.Pod = consoleline.Clean(value, maxName)
	case "X_KIOS_CONTAINER":
		m.Container = consoleline.Clean(value, maxName)
	case "X_KIOS_ARCHIVE":
		m.Archive = consoleline.Clean(value, maxName)
	case "X_KIOS_ERROR":
		m.Error = consoleline.Clean(value, maxError)
	case "X_KIOS_CLUSTER":
		m.Cluster = consoleline.Clean(value, maxName)
	case "X_KIOS_EXIT":
		m.Exit, err = number(key, value)
	case "X_KIOS_MS":
		var ms int
		ms, err = number(key, value)
		m.Took = min(time.Duration(ms)*time.Millisecond, maxTook)
	}
	return err
}

func event(value string) (Kind, error) {
	switch kind := Kind(value); kind {
	case ContainerStarted, ContainerExited, ImageImported, ImageFailed, Joining, Providers, ShutdownGrace:
		return kind, nil
	}
	return "", fmt.Errorf("X_KIOS_EVENT=%s is not known", consoleline.Clean(value, maxName))
}

// number reads a value that is never negative and fits any int.
func number(key, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s=%s is not a number", key, consoleline.Clean(value, maxName))
	}
	return int(n), nil
}
