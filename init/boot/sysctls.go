package boot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kios/init/machine"
	"kios/internal/sysctl"
	"kios/internal/wholefile"
)

// setSysctls sets the node's parameters and then the user's, before anything runs that
// is to have them.
func (n *Node) setSysctls() error {
	settings := slices.Concat(sysctl.Node, sysctl.Lockups(machine.Virtual("/proc", "/sys")), sysctl.MinFree(n.memory))
	if n.options.Load().StayUp {
		// panic=0 keeps the kernel up as well. The kubelet is told to accept it.
		settings = sysctl.Without(settings, "kernel.panic")
	}
	missing, errs := sysctl.Apply("/proc/sys", settings)
	if len(missing) > 0 {
		n.Log.Info("this kernel does not have %s", strings.Join(missing, " "))
	}
	n.logAll(errs)
	n.setUserSysctls()
	return nil
}

// setUserSysctls tries what the user has set. There are rules for what ends a node for
// sure, and the trial is for what nobody thought of.
func (n *Node) setUserSysctls() {
	lines, errs := sysctl.Read(sysctl.UserDir)
	n.logAll(errs)
	trial := &sysctlTrial{path: sysctlTrialFile}
	switch may, err := trial.begin(lines); {
	case len(lines) == 0:
	case !may:
		n.Log.Error("%s is left out, because the node did not come up with it %d times in a row: change a file there to have it tried again", sysctl.UserDir, sysctlTrials)
	default:
		if err != nil {
			n.Log.Warn("a boot that fails because of %s will not be noticed: %v", sysctl.UserDir, err)
		}
		n.logAll(sysctl.ApplyUser("/proc/sys", lines, sysctl.NewRules(n.memory)))
		n.sysctlTrial.Store(trial)
		n.spawn("trial of "+sysctl.UserDir, func() { n.watchSysctls(trial) })
	}
}

// watchSysctls ends the trial when the node has come up.
func (n *Node) watchSysctls(trial *sysctlTrial) {
	if n.cameUp(provenAfter) && n.sysctlTrial.CompareAndSwap(trial, nil) {
		trial.passed()
	}
}

// endSysctlTrial is for a node that stops in order before it is known whether it comes
// up: that says nothing about the settings, unless it stops because it does not work. A
// node that fails does not get here.
func (n *Node) endSysctlTrial() error {
	trial := n.sysctlTrial.Swap(nil)
	if trial == nil || n.faulty.isSet() {
		return nil
	}
	ready, _ := n.daemons.readyPID(kubeletName)
	if ready == 0 && time.Since(trial.began) >= comeUpBound {
		return nil // somebody has given up
	}
	return trial.takeBack()
}

// logAll logs errors of files that may have any number of them.
func (n *Node) logAll(errs []error) {
	const most = 20
	for i, err := range errs {
		if i == most {
			n.Log.Error("and %d more", len(errs)-most)
			return
		}
		n.Log.Error("%v", err)
	}
}

// cameUp waits until the kubelet has been ready for a while. A node that stops before,
// for whatever reason, has not shown that it comes up.
func (n *Node) cameUp(proven time.Duration) bool {
	for {
		pid, changed := n.daemons.readyPID(kubeletName)
		kubelet := n.daemons.kubelet()
		var enough <-chan time.Time
		if kubelet != nil && pid != 0 && pid == kubelet.Pid() {
			enough = time.After(proven)
		}
		select {
		case <-changed:
		case <-n.stopping.done():
			return false
		case <-enough:
			if pid == kubelet.Pid() && !n.stopping.isSet() {
				return true
			}
		}
	}
}

const (
	// sysctlTrialFile is on the data partition, so that the next boot has it.
	sysctlTrialFile = "/var/meta/sysctl-trial"
	sysctlTrials    = 3               // how many boots may fail, of which some are power cuts
	provenAfter     = time.Minute     // how long the kubelet has to be ready
	comeUpBound     = 5 * time.Minute // when a kubelet that has never been ready is a failure
)

// sysctlTrial counts the boots that have begun with the user's settings and have not
// come up, in a file: "HASH COUNT".
type sysctlTrial struct {
	path   string
	began  time.Time
	before string // what the file had
}

// begin reports whether the settings may be tried, and counts that.
func (t *sysctlTrial) begin(lines []sysctl.Line) (may bool, err error) {
	if len(lines) == 0 {
		return true, nil
	}
	t.began = time.Now()
	hash := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, lines)))
	t.before, err = readIfThere(t.path)
	var was string
	var count int
	if fmt.Sscan(t.before, &was, &count); was != hash {
		count = 0
	}
	if count >= sysctlTrials {
		return false, nil
	}
	text := fmt.Sprintf("%s %d\n", hash, count+1)
	return true, errors.Join(err, wholefile.Durable(t.path, []byte(text), 0o600))
}

// takeBack forgets this boot.
func (t *sysctlTrial) takeBack() error { return wholefile.Durable(t.path, []byte(t.before), 0o600) }

// passed forgets all boots.
func (t *sysctlTrial) passed() { os.Remove(t.path) }
