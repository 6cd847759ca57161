package server

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func sandboxOf(yield string) *runtime.PodSandboxConfig {
	return &runtime.PodSandboxConfig{Annotations: map[string]string{YieldAnnotation: yield}}
}

func TestYieldOf(t *testing.T) {
	for text, want := range map[string]int{"": 0, "1": 1, "9": 9, "10": 9, "-1": 0, "x": 0} {
		if got := yieldOf(sandboxOf(text)); got != want {
			t.Errorf("yieldOf(%q) = %d, want %d", text, got, want)
		}
	}
	if got := yieldOf(nil); got != 0 {
		t.Errorf("yieldOf(nil) = %d", got)
	}
}

// Pods that arrive at once start in the order of their numbers, each when the
// one before is done.
func TestOrder(t *testing.T) {
	y := newYielding(time.Now().Add(-time.Second))
	y.ready(time.Now())
	var mu sync.Mutex
	var order []string
	var pods sync.WaitGroup
	for _, yield := range []string{"2", "1", "0"} {
		pods.Go(func() {
			_, err := y.unary(t.Context(), &runtime.RunPodSandboxRequest{Config: sandboxOf(yield)}, nil, func(context.Context, any) (any, error) {
				time.Sleep(20 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, yield)
				return nil, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	pods.Wait()
	if !slices.Equal(order, []string{"0", "1", "2"}) {
		t.Errorf("order = %v", order)
	}
}

func TestLeft(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	y := newYielding(start)
	y.ready(at(2))
	check := func(what string, number int, arrived, now, want float64) {
		t.Helper()
		left, _ := y.left(number, at(arrived), at(now))
		if got := left.Seconds(); got < want-0.001 || got > want+0.001 {
			t.Errorf("%s: %.3f s left, want %.3f", what, got, want)
		}
	}
	check("nobody else", 1, 2, 2, settle*2)
	y.busy[0] = 1
	check("another is busy", 1, 2, 3, bound*2-1)
	check("another is busy for too long", 1, 2, 22, 0)
	y.busy[0], y.last[0] = 0, at(3)
	check("another has done something", 1, 2, 3.1, settle*2-0.1)
	y.busy[1] = 1
	check("an equal is busy", 1, 2, 3.1, settle*2-0.1)
	check("a smaller number is busy", 2, 2, 3.1, bound*2-1.1)
	y.busy[1], y.last[1] = 0, at(5)
	check("a smaller number has done something", 2, 2, 5.1, short*2-0.1)
	check("the boot is over", 2, 130, 130, 0)
}

// The call that starts a container counts for the pod that it is of.
func TestStartContainer(t *testing.T) {
	y := newYielding(time.Now().Add(-time.Hour))
	call := func(req any, want int) {
		t.Helper()
		_, err := y.unary(t.Context(), req, nil, func(context.Context, any) (any, error) {
			if y.busy[want] != 1 {
				t.Errorf("during %T the busy are %v, want number %d", req, y.busy, want)
			}
			return &runtime.CreateContainerResponse{ContainerId: "c" + strconv.Itoa(want)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	call(&runtime.CreateContainerRequest{SandboxConfig: sandboxOf("3")}, 3)
	call(&runtime.StartContainerRequest{ContainerId: "c3"}, 3)
	call(&runtime.StartContainerRequest{ContainerId: "unknown"}, 0)
}

func TestCancelled(t *testing.T) {
	y := newYielding(time.Now().Add(-time.Minute)) // a slow machine
	y.ready(time.Now())
	y.busy[0] = 1
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() { y.wait(ctx, 1); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a cancelled call waits")
	}
}
