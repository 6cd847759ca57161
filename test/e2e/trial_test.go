//go:build image

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/kubeletapi"
)

// maxPods returns how many pods the kubelet takes by its configuration.
func (n *node) maxPods() int {
	n.t.Helper()
	var z struct{ KubeletConfig struct{ MaxPods int } }
	n.eventually("the kubelet's configuration", func(ctx context.Context) error {
		body, err := n.api.Get(ctx, "/configz")
		if err == nil {
			err = json.Unmarshal(body, &z)
		}
		return err
	})
	return z.KubeletConfig.MaxPods
}

// expectLate waits for a line that a node waits minutes for, however fast it is.
func (n *node) expectLate(pattern string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 6*time.Minute+n.Scale(time.Minute))
	defer cancel()
	_, err := n.Expect(ctx, regexp.MustCompile(pattern))
	n.must(err)
}

// TestTrialEnds has a kubelet end again and again while a user's file is in trial: it
// starts without the file, and with it once it is another one. Then containerd hangs.
func TestTrialEnds(t *testing.T) {
	t.Parallel()
	const file = "/etc/kubernetes/config.d/10-mine.yaml"
	const text = "{\"apiVersion\":\"kubelet.config.k8s.io/v1beta1\",\"kind\":\"KubeletConfiguration\",\"maxPods\":31}"
	n := boot(t, setup{few: true, etc: map[string]string{strings.TrimPrefix(file, "/etc/"): text}})
	n.running("probe")
	if got := n.maxPods(); got != 31 {
		t.Errorf("maxPods is %d, want the file's", got)
	}
	for range 3 {
		n.running("probe") // or the request would not reach it
		n.Mark()
		// The kubelet that carries the request is the one that ends.
		_, _ = n.tryProbe(context.WithoutCancel(t.Context()), "abort", "kubelet")
		n.expect(`kubelet \(pid \d+\) ended`)
		n.expect(`kubelet ready`)
	}
	n.expect(`error: the kubelet does not work with ` + file + ` .*it starts without`)
	if got := n.maxPods(); got == 31 {
		t.Error("the file is in force that was given up")
	}
	if got := n.probe("cat", "/run/kios/rejected.json"); !strings.Contains(got, file) || !strings.Contains(got, "no files") {
		t.Errorf("rejected.json is %s", got)
	}
	n.probe("write", file, strings.Replace(text, "31", "32", 1))
	// The probe puts a space between its arguments, which may have none themselves.
	n.probe("write", "/etc/kios/environment.yaml", "kubelet:\n", "EXAMPLE:", "new\n")
	n.running("probe")
	n.Mark()
	_, _ = n.tryProbe(context.WithoutCancel(t.Context()), "kill", "kubelet")
	n.expect(`kubelet ready`)
	if got := n.maxPods(); got != 32 {
		t.Errorf("maxPods is %d, want that of the new file", got)
	}
	if got := n.ofDaemon("kubelet", "environ"); !slices.Contains(got, "EXAMPLE=new") {
		t.Errorf("the environment is %q, without what the file has", got)
	}

	n.running("probe")
	n.eventually("no answer, since what carries it stands still", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, n.Scale(time.Second))
		defer cancel()
		_, err := n.tryProbe(ctx, "halt", "containerd")
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("an answer: %w", err)
	})
	n.expectLate(`containerd \(pid \d+\) has not reported for .*: it hangs, and is ended`)
	n.expect(`containerd ready`)
	n.running("probe")
	if got := n.probe("cat", "/var/log/containerd.log"); !strings.Contains(got, "goroutine ") {
		t.Error("the log of what hung has no goroutines")
	}
	n.powerOff()
}

// TestTrialWithoutContainers has a configuration of containerd with which both daemons
// are well and no container ever starts.
func TestTrialWithoutContainers(t *testing.T) {
	t.Parallel()
	n := boot(t, setup{few: true, etc: map[string]string{"containerd/config.toml": `version = 3
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "/bin/kubelet"
`}})
	n.expectLate(`error: containerd does not work with /etc/containerd/config.toml .*it starts without`)
	n.podWith("network", "running", func(p kubeletapi.Pod) bool { return p.Done() })
	n.running("probe")
	n.powerOff()
}
