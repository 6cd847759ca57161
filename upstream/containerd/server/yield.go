package server

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// YieldAnnotation, on a pod, is a number: the pod lets those with a smaller one,
// and above all those without one, go first while a node boots.
//
// A boot keeps every processor busy. Pods that start at the same moment are all as
// late as the last one. When they start in an order, the first is early, and the
// last is no later than before. The kubelet has no such order for static pods.
const YieldAnnotation = "kios.local/yield"

// maxYield is the largest number that counts.
const maxYield = 9

// The times of yielding are measured in the time that the start of containerd
// took: 0.1 s on most machines, 2 s on an emulated one.
const (
	settle = 0.5  // how long pods without a number must have started nothing
	short  = 0.15 // the same for pods with a smaller number: they are known to come
	bound  = 10   // the longest that a pod waits
	booted = 60   // when the boot is over: after that no pod waits
)

// maxWait is far less than what the kubelet gives the start of a sandbox.
const maxWait = time.Minute

// yielding makes those pods wait that let others go first.
type yielding struct {
	started time.Time     // of containerd
	isReady chan struct{} // closed when its start is over

	mu      sync.Mutex
	pace    time.Duration     // how long its start took
	busy    [maxYield + 1]int // pods that wait, and calls that start something, by number
	last    [maxYield + 1]time.Time
	numbers map[string]int // of containers that are to be started
	changed chan struct{}
}

func newYielding(started time.Time) *yielding {
	return &yielding{started: started, isReady: make(chan struct{}), numbers: map[string]int{}, changed: make(chan struct{})}
}

// ready tells that containerd's start is over. No pod that yields is started
// before.
func (y *yielding) ready(now time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pace = now.Sub(y.started)
	close(y.isReady)
}

// unary handles the calls with which the kubelet starts a pod.
func (y *yielding) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	number := 0
	switch r := req.(type) {
	case *runtime.RunPodSandboxRequest:
		number = yieldOf(r.GetConfig())
		y.wait(ctx, number)
	case *runtime.CreateContainerRequest:
		number = yieldOf(r.GetSandboxConfig())
	case *runtime.StartContainerRequest:
		number = y.take(r.GetContainerId())
	default:
		return handle(ctx, req)
	}
	y.begin(number)
	answer, err := handle(ctx, req)
	y.end(number)
	if r, ok := answer.(*runtime.CreateContainerResponse); ok && err == nil {
		y.keep(r.GetContainerId(), number)
	}
	return answer, err
}

// yieldOf returns the number of a pod, 0 for one that yields to nobody.
func yieldOf(pod *runtime.PodSandboxConfig) int {
	number, err := strconv.Atoi(pod.GetAnnotations()[YieldAnnotation])
	if err != nil || number < 0 {
		return 0
	}
	return min(number, maxYield)
}

// wait returns when it is the turn of a pod with the number.
func (y *yielding) wait(ctx context.Context, number int) {
	if number == 0 {
		return
	}
	y.begin(number)
	defer y.end(number)
	select {
	case <-y.isReady:
	case <-ctx.Done():
		return
	}
	arrived := time.Now()
	for {
		left, changed := y.left(number, arrived, time.Now())
		if left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Stop()
	}
}

// left returns for how long a pod that arrived then has to wait, unless
// something changes.
func (y *yielding) left(number int, arrived, now time.Time) (time.Duration, <-chan struct{}) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if now.Sub(y.started) > booted*y.pace {
		return 0, nil
	}
	end := arrived.Add(min(bound*y.pace, maxWait))
	turn := arrived.Add(y.times(settle))
	for n := range number {
		if y.busy[n] > 0 {
			return end.Sub(now), y.changed
		}
		calm := y.last[n].Add(y.times(short))
		if n == 0 {
			calm = y.last[n].Add(y.times(settle))
		}
		if calm.After(turn) {
			turn = calm
		}
	}
	if turn.After(end) {
		turn = end
	}
	return turn.Sub(now), y.changed
}

func (y *yielding) times(factor float64) time.Duration {
	return time.Duration(factor * float64(y.pace))
}

func (y *yielding) begin(number int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.busy[number]++
	y.wake()
}

func (y *yielding) end(number int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.busy[number]--
	y.last[number] = time.Now()
	y.wake()
}

// wake tells those who wait. It is called with y.mu held.
func (y *yielding) wake() {
	close(y.changed)
	y.changed = make(chan struct{})
}

// keep remembers the number of a container's pod until the container is started:
// that call names the container only.
func (y *yielding) keep(container string, number int) {
	if number == 0 {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.numbers[container] = number
}

func (y *yielding) take(container string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	number := y.numbers[container]
	delete(y.numbers, container)
	return number
}
