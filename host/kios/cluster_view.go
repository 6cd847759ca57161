package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"kios/host/cluster"
	"kios/host/console"
)

// clusterView shows the boots of several nodes at once: what is worth keeping
// as lines that stay, and on a terminal below them a line for each node with
// how far it has come and what it said last, redrawn in place.
type clusterView struct {
	begin time.Time

	mu    sync.Mutex
	w     io.Writer
	width int // of the terminal; 0 if there is none
	rows  []viewRow
	drawn int // rows that are on the screen now
	last  time.Time
}

type viewRow struct{ node, address, state, text string }

func newClusterView(f *os.File, c *cluster.Cluster) *clusterView {
	v := &clusterView{w: f, begin: time.Now()}
	if term.IsTerminal(int(f.Fd())) {
		v.width, _, _ = term.GetSize(int(f.Fd()))
	}
	for _, n := range c.Nodes {
		v.rows = append(v.rows, viewRow{node: n.Name, address: n.Address.String()})
	}
	return v
}

func (v *clusterView) elapsed() time.Duration { return time.Since(v.begin) }

// Console takes in a line of a node's console.
func (v *clusterView) Console(node string, e console.Event) {
	who, text, colour := console.Describe(e)
	v.mu.Lock()
	defer v.mu.Unlock()
	if row := v.row(node); row != nil {
		row.text = strings.TrimSpace(who + " " + text)
		if e.Kind == console.Ready {
			row.state, row.text = e.Name+" ready", ""
		}
	}
	if keeps(e) {
		v.print(node, strings.TrimSpace(who+" "+text), colour)
		return
	}
	v.redraw(false)
}

// keeps reports whether a line is worth a line of ours: of the hundred that a
// node prints while it boots, some twenty.
func keeps(e console.Event) bool {
	switch e.Kind {
	case console.Version, console.Ready, console.Imported, console.Started, console.Exited, console.Warning, console.Problem,
		console.Panic, console.PowerDown, console.Restart:
		return true
	}
	return false
}

// State sets how far a node has come.
func (v *clusterView) State(node, state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if row := v.row(node); row != nil {
		row.state, row.text = state, ""
	}
	if v.width == 0 {
		v.print(node, state, "")
		return
	}
	v.redraw(true)
}

// Note prints a remark on the whole.
func (v *clusterView) Note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.print("", fmt.Sprintf(format, args...), "\x1b[1m")
}

func (v *clusterView) row(node string) *viewRow {
	for i := range v.rows {
		if v.rows[i].node == node {
			return &v.rows[i]
		}
	}
	return nil
}

func (v *clusterView) print(node, text, colour string) {
	end := "\x1b[0m"
	if v.width == 0 || colour == "" || os.Getenv("NO_COLOR") != "" {
		colour, end = "", ""
	}
	v.erase()
	fmt.Fprintf(v.w, "%8.2fs  %-13s  %s%s%s\n", v.elapsed().Seconds(), node, colour, text, end)
	v.redraw(true)
}

// erase takes the rows off the screen.
func (v *clusterView) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.w, "\x1b[%dA\r\x1b[J", v.drawn)
		v.drawn = 0
	}
}

// redraw draws the rows anew, but not for each of a hundred lines a second.
func (v *clusterView) redraw(now bool) {
	if v.width == 0 || !now && time.Since(v.last) < 100*time.Millisecond {
		return
	}
	v.last = time.Now()
	v.erase()
	for _, r := range v.rows {
		line := []rune(fmt.Sprintf("           %-13s  %-11s %-18s %s", r.node, r.address, r.state, r.text))
		fmt.Fprintf(v.w, "\x1b[2m%s\x1b[0m\n", string(line[:min(len(line), max(v.width-1, 0))]))
	}
	v.drawn = len(v.rows)
}

// end takes the rows off for good.
func (v *clusterView) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
	v.width = 0
}

// firstSignal waits for a signal.
func firstSignal(ctx context.Context, signals <-chan os.Signal) bool {
	select {
	case <-signals:
		return true
	case <-ctx.Done():
		return false
	}
}
