package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"kios/host/cluster"
	"kios/host/console"
	"kios/host/terminal"
)

// clusterView shows the boots of several nodes at once: what is worth keeping
// as lines that stay, and on a terminal below them a line for each node with
// how far it has come and what it said last.
type clusterView struct {
	begin time.Time

	mu     sync.Mutex
	screen *terminal.Screen
	rows   []viewRow
	drawn  time.Time // when the rows were drawn last
}

type viewRow struct{ node, address, state, text string }

func newClusterView(w io.Writer, c *cluster.Cluster) *clusterView {
	v := &clusterView{screen: terminal.New(w), begin: time.Now()}
	for _, n := range c.Nodes {
		v.rows = append(v.rows, viewRow{node: n.Name, address: n.Address.String()})
	}
	return v
}

func (v *clusterView) elapsed() time.Duration { return time.Since(v.begin) }

// Console takes in a line of a node's console.
func (v *clusterView) Console(node string, e console.Event) {
	who, text, colour := console.Describe(e)
	line := strings.TrimSpace(who + " " + text)
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Kind == console.Ready {
		v.set(node, e.Name+" ready", "")
	} else if row := v.row(node); row != nil {
		row.text = line
	}
	switch {
	case keeps(e):
		v.print(node, line, colour)
	case time.Since(v.drawn) > 100*time.Millisecond: // a node may print a hundred lines a second
		v.draw()
	}
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
	v.set(node, state, "")
	if v.screen.Redraws() {
		v.draw()
		return
	}
	v.print(node, state, "")
}

// Note prints a remark on the whole.
func (v *clusterView) Note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.print("", fmt.Sprintf(format, args...), "\x1b[1m")
}

// end takes the rows off for good.
func (v *clusterView) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.screen.End()
}

func (v *clusterView) row(node string) *viewRow {
	for i := range v.rows {
		if v.rows[i].node == node {
			return &v.rows[i]
		}
	}
	return nil
}

func (v *clusterView) set(node, state, text string) {
	if row := v.row(node); row != nil {
		row.state, row.text = state, text
	}
}

// print prints a line that stays.
func (v *clusterView) print(node, text, colour string) {
	end := "\x1b[0m"
	if !v.screen.Redraws() || colour == "" || os.Getenv("NO_COLOR") != "" {
		colour, end = "", ""
	}
	v.draw(fmt.Sprintf("%8.2fs  %-13s  %s%s%s", v.elapsed().Seconds(), node, colour, text, end))
}

// draw draws the rows anew, below lines that stay.
func (v *clusterView) draw(stay ...string) {
	v.drawn = time.Now()
	var rows []string
	for _, r := range v.rows {
		row := fmt.Sprintf("           %-13s  %-11s %-18s %s", r.node, r.address, r.state, r.text)
		rows = append(rows, "\x1b[2m"+v.screen.Fit(row)+"\x1b[0m")
	}
	v.screen.Draw(stay, rows)
}
