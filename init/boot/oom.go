package boot

import (
	"strings"
	"time"

	"kios/init/bundle"
	"kios/internal/consoleline"
)

// oomVictim is what the kernel says of a process that it ends because memory ran out
// (dump_oom_victim in mm/oom_kill.c).
type oomVictim struct {
	cgroup, task, pid string
	whole             bool // the machine's memory ran out, not a cgroup's
}

// parseVictim reads the kernel's line; a false result is for others. The name of the
// program, which it chose itself, is near the end.
func parseVictim(text string) (v oomVictim, ok bool) {
	head, rest, found := strings.Cut(text, ",task_memcg=")
	if !found || !strings.HasPrefix(head, "oom-kill:") {
		return oomVictim{}, false
	}
	v.whole = strings.Contains(head, ",global_oom")
	v.cgroup, rest, _ = strings.Cut(rest, ",task=")
	end := strings.LastIndex(rest, ",pid=")
	if end < 0 {
		return oomVictim{}, false
	}
	v.task = consoleline.Clean(rest[:end], 20)
	v.pid, _, _ = strings.Cut(rest[end+len(",pid="):], ",")
	return v, true
}

// oomQuiet is how long nothing is logged after a line of the same kind.
const oomQuiet = time.Second

// oomWatch names the pod whose process the kernel has ended. One goroutine uses it.
type oomWatch struct {
	node    *Node
	bundles string // where they are
	// Each kind has its own: a pod that reaches its limit again and again must not hide
	// that the machine's memory runs out.
	machine, cgroup pace
}

func (w *oomWatch) lines(whole bool) *pace {
	if whole {
		return &w.machine
	}
	return &w.cgroup
}

// said takes in a line of the kernel. A pod that reaches its own limit is everyday
// business; one that takes the memory of the whole machine is not.
func (w *oomWatch) said(text string) {
	v, ok := parseVictim(text)
	if !ok || !w.lines(v.whole).allows(oomQuiet) {
		return
	}
	whose := v.cgroup
	if c, found := bundle.Find(w.bundles, v.cgroup); found {
		whose = c.Name
	}
	if v.whole {
		w.node.Log.Warn("memory ran out: the kernel ended process %s (%s) of %s", v.pid, v.task, whose)
	} else {
		w.node.Log.Info("%s reached its limit of memory: the kernel ended process %s (%s)", whose, v.pid, v.task)
	}
}
