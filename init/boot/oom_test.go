package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
)

// What Linux 6.12 says when the machine's memory, or that of a cgroup, runs out.
const (
	globalOOM = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=c1,mems_allowed=0,global_oom,task_memcg=/kubepods/besteffort/pod1/c1,task=%s,pid=321,uid=0"
	groupOOM  = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c9,task=hog,pid=322,uid=0"
)

// The console names the pod that took all memory.
func TestOOMNamesPod(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, os.Mkdir(filepath.Join(dir, "c1"), 0o755))
	lab.WriteFile(t, filepath.Join(dir, "c1", "init.pid"), "300")
	lab.WriteFile(t, filepath.Join(dir, "c1", "config.json"), `{"annotations":{"io.kubernetes.cri.sandbox-namespace":"default",
"io.kubernetes.cri.sandbox-name":"hog","io.kubernetes.cri.container-name":"app"},"linux":{"cgroupsPath":"/kubepods/besteffort/pod1/c1"}}`)
	for text, want := range map[string]string{
		fmt.Sprintf(globalOOM, "hog"):          "<4>kios: warning: memory ran out: the kernel ended process 321 (hog) of container app of pod default/hog\n",
		fmt.Sprintf(globalOOM, "a,pid=9,\x1b"): "<4>kios: warning: memory ran out: the kernel ended process 321 (a,pid=9,) of container app of pod default/hog\n",
		groupOOM:                               "<6>kios: /kubepods/pod1/c9 reached its limit of memory: the kernel ended process 322 (hog)\n",
		"Out of memory: Killed process 321":    "",
		"oom-kill:,task_memcg=":                "",
		"x,task_memcg=/c1,task=a,pid=1":        "",
	} {
		n, log := node(t)
		watch := &oomWatch{node: n, bundles: dir}
		watch.said(text)
		watch.said(text) // too soon to be said again
		if got := log.String(); got != want {
			t.Errorf("after %q the log has %q, want %q", text, got, want)
		}
	}
}

// A pod at its own limit does not hide that the machine's memory runs out.
func TestOOMKinds(t *testing.T) {
	n, log := node(t)
	watch := &oomWatch{node: n, bundles: t.TempDir()}
	watch.said(groupOOM)
	watch.said(fmt.Sprintf(globalOOM, "hog"))
	if got := log.String(); !strings.Contains(got, "memory ran out") || !strings.Contains(got, "reached its limit") {
		t.Errorf("the log has %q, want both", got)
	}
}

func FuzzVictim(f *testing.F) {
	f.Add(groupOOM)
	f.Fuzz(func(t *testing.T, text string) {
		if v, ok := parseVictim(text); ok && (len(v.task) > 20 || strings.Contains(v.task, "\n")) {
			t.Errorf("the victim of %q is %+v", text, v)
		}
	})
}
