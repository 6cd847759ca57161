// Package rejected tells the cluster that this node runs without a user's files: the
// kubelet or containerd did not stay up with them, so PID 1 has started it with others.
// PID 1 writes what it has decided into a file (docs/node.md), and this package makes an
// Event on the Node of each entry that is new.
package rejected

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"kios/upstream/kubelet/watch"
)

// File is written by PID 1 whole, and is empty or absent when all is well.
const File = "/run/kios/rejected.json"

// entry is what PID 1 says of one daemon.
type entry struct {
	Files []string  `json:"files"`
	Error string    `json:"error"`
	Using string    `json:"using"`
	Since time.Time `json:"since"`
}

// Teller makes the events.
type Teller struct {
	File string
	Node string
	// Create sends an event to the API server.
	Create func(context.Context, *corev1.Event) error
	Say    func(format string, args ...any)

	told map[string]time.Time // by daemon, the last entry that has an event
}

// InCluster returns a Create for the cluster of a kubeconfig, which is read each time: the
// kubelet may have got its certificate since.
func InCluster(kubeconfig string) func(context.Context, *corev1.Event) error {
	return func(ctx context.Context, e *corev1.Event) error {
		c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		c.Timeout, c.ContentType = 10*time.Second, "application/json"
		client, err := typed.NewForConfig(c)
		if err != nil {
			return err
		}
		_, err = client.Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{})
		return err
	}
}

// retry is how often to try again when the API server does not answer.
const retry = 30 * time.Second

// Run tells until the context ends.
func (t *Teller) Run(ctx context.Context) {
	t.told = map[string]time.Time{}
	for ctx.Err() == nil {
		if t.tell(ctx) {
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
			continue
		}
		if !watch.Until(ctx, func() []string { return []string{t.File} }, t.news, t.Say) {
			return
		}
	}
}

// news reports whether there is an entry without an event.
func (t *Teller) news() bool {
	for daemon, e := range t.read() {
		if !t.told[daemon].Equal(e.Since) {
			return true
		}
	}
	return false
}

// tell makes the events that are missing, and reports whether one failed.
func (t *Teller) tell(ctx context.Context) (failed bool) {
	entries := t.read()
	for _, daemon := range slices.Sorted(maps.Keys(entries)) {
		e := entries[daemon]
		if t.told[daemon].Equal(e.Since) {
			continue
		}
		if err := t.Create(ctx, t.event(daemon, e)); err != nil {
			failed = true
			continue
		}
		t.told[daemon] = e.Since
	}
	return failed
}

// maxFile is far more than PID 1 writes.
const maxFile = 64 << 10

// read returns the entries by daemon. A file that cannot be read has none: PID 1 has
// said the same on the console.
func (t *Teller) read() (entries map[string]entry) {
	f, err := os.Open(t.File)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil || json.Unmarshal(text, &entries) != nil {
		return nil
	}
	return entries
}

// maxMessage is what the API server takes.
const maxMessage = 1024

func (t *Teller) event(daemon string, e entry) *corev1.Event {
	message := fmt.Sprintf("%s does not stay up with %s, so it uses %s: %s", daemon, strings.Join(e.Files, ", "), e.Using, e.Error)
	now := metav1.Now()
	return &corev1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%s.%x", t.Node, now.UnixNano())},
		InvolvedObject:      corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: t.Node, UID: types.UID(t.Node)},
		Type:                corev1.EventTypeWarning,
		Reason:              "ConfigurationRejected",
		Message:             strings.ToValidUTF8(message[:min(len(message), maxMessage)], ""),
		Source:              corev1.EventSource{Component: "kubelet", Host: t.Node},
		FirstTimestamp:      metav1.Time{Time: e.Since},
		LastTimestamp:       now,
		Count:               1,
		ReportingController: "kubelet",
		ReportingInstance:   t.Node,
	}
}
