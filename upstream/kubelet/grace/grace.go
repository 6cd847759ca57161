// Package grace tells init how long the kubelet gives pods when the node stops,
// so that init waits that long for the kubelet, and no longer. The kubelet computes
// the figure from several files. It publishes the result within its own process,
// for its endpoint /configz, and this package reads it there.
package grace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"k8s.io/component-base/configz"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// look is how often to look for the configuration, which is there long before
// the kubelet is ready.
const look = 200 * time.Millisecond

// Tell waits for the configuration and tells init. It is for a goroutine.
func Tell(say func(format string, args ...any)) {
	for {
		grace, ok := read()
		if !ok {
			time.Sleep(look)
			continue
		}
		state := fmt.Sprintf("X_KIOS_EVENT=shutdown-grace\nX_KIOS_MS=%d", grace.Milliseconds())
		if _, err := daemon.SdNotify(false, state); err != nil {
			say("cannot tell init that pods have %v to end: %v", grace, err)
		}
		return
	}
}

// read returns the kubelet's figure, once it has one.
func read() (grace time.Duration, ok bool) {
	var page page
	configz.InstallHandler(&page)
	page.handler.ServeHTTP(&page, nil) // which it does not look at
	var published struct {
		Kubelet *kubeletv1beta1.KubeletConfiguration `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(page.Bytes(), &published); err != nil || published.Kubelet == nil {
		return 0, false
	}
	return of(published.Kubelet), true
}

// of adds up what the kubelet's shutdown manager does (periodRequested,
// k8s.io/kubernetes/pkg/kubelet/nodeshutdown). The two ways to say it exclude
// each other.
func of(c *kubeletv1beta1.KubeletConfiguration) time.Duration {
	grace := c.ShutdownGracePeriod.Duration
	for _, p := range c.ShutdownGracePeriodByPodPriority {
		grace += time.Duration(p.ShutdownGracePeriodSeconds) * time.Second
	}
	return grace
}

// page is the mux and the response of one request.
type page struct {
	bytes.Buffer
	handler http.Handler
}

func (p *page) Handle(_ string, h http.Handler) { p.handler = h }
func (p *page) Header() http.Header             { return http.Header{} }
func (p *page) WriteHeader(int)                 {}
