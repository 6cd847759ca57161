// Package bench measures what kiOS promises: the time from power-on to a
// running container, and the memory in use with one pod running, side by side
// with a Debian guest that has systemd and the very same containerd, shim, runc,
// kubelet, pod and image.
//
// All times are the host's clock from the start of QEMU to a line on the serial
// console that the pod's own process writes. The systems take turns, so that a
// machine whose speed drifts changes the ratio little. Every boot is a first
// boot: the disks are snapshots that are thrown away.
package bench

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"kios/host/cache"
	"kios/host/progress"
	"kios/host/qemu"
)

// System is one way to boot.
type System struct {
	Name      string
	Config    qemu.Config
	Reference bool // the one that the others are compared with, if any is
}

// Sample is what one boot showed.
type Sample struct {
	Running time.Duration // from power-on to the first line of the pod's process
	Used    int64         // bytes: MemTotal - MemAvailable, thirty seconds later
}

var (
	runningLine = regexp.MustCompile(`KIOS-BENCH running`)
	memoryLine  = regexp.MustCompile(`KIOS-BENCH MemTotal=(\d+) MemAvailable=(\d+)`)
)

// bootLimit bounds one boot. Debian takes some 40 s under emulation on an
// idle machine.
const bootLimit = 5 * time.Minute

// Run boots every system runs times, in turns, and returns the samples by
// system.
func Run(ctx context.Context, log *progress.Log, systems []System, runs int) ([][]Sample, error) {
	samples := make([][]Sample, len(systems))
	for run := range runs {
		for i, s := range systems {
			step := log.Start(fmt.Sprintf("boot %d of %d: %s", run+1, runs, s.Name))
			sample, err := boot(ctx, s.Config)
			if err == nil {
				step.Note("running after %.1f s", sample.Running.Seconds())
			}
			if step.End(err) != nil {
				return nil, fmt.Errorf("boot %s: %w", s.Name, err)
			}
			samples[i] = append(samples[i], sample)
		}
	}
	return samples, nil
}

func boot(ctx context.Context, cfg qemu.Config) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	dir, remove, err := cache.Scratch("bench-")
	if err != nil {
		return Sample{}, err
	}
	defer remove()
	cfg.Dir = dir
	// The console's own time stamps, not the moment at which Expect wakes.
	var running time.Duration
	cfg.OnLine = func(l qemu.Line) {
		if running == 0 && runningLine.MatchString(l.Text) {
			running = l.At
		}
	}
	m, err := qemu.Start(ctx, cfg)
	if err != nil {
		return Sample{}, err
	}
	defer m.Kill()
	found, err := m.Expect(ctx, memoryLine)
	if err != nil {
		return Sample{}, err
	}
	total, _ := strconv.ParseInt(found[1], 10, 64) // the expression admits digits only
	available, _ := strconv.ParseInt(found[2], 10, 64)
	return Sample{Running: running, Used: total - available}, nil
}

// Report prints the samples as a Markdown table. The ratio, if there is a reference, is that of
// the reference's boot to each system's boot of the same turn.
func Report(w io.Writer, systems []System, samples [][]Sample) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	defer t.Flush()
	reference := slices.IndexFunc(systems, func(s System) bool { return s.Reference })
	ratio, rule := "", ""
	if reference >= 0 {
		ratio, rule = "| reference ÷ this\t", "|---\t"
	}
	fmt.Fprintf(t, "| system\t| boot to container running, s: min / median / max\t%s| memory in use, MB: median\t|\n", ratio)
	fmt.Fprintf(t, "|---\t|---\t%s|---\t|\n", rule)
	for i, s := range systems {
		var seconds, ratios, used []float64
		for run, sample := range samples[i] {
			seconds, used = append(seconds, sample.Running.Seconds()), append(used, float64(sample.Used)/1e6)
			if reference >= 0 {
				ratios = append(ratios, samples[reference][run].Running.Seconds()/sample.Running.Seconds())
			}
		}
		if reference >= 0 {
			ratio = fmt.Sprintf("| %.2f\t", median(ratios))
		}
		fmt.Fprintf(t, "| %s\t| %.1f / %.1f / %.1f\t%s| %.0f\t|\n", s.Name,
			slices.Min(seconds), median(seconds), slices.Max(seconds), ratio, median(used))
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
