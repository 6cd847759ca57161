// Package boot is stage 2: PID 1 from its first instruction on the root file
// system to power-off. The boot is a list of steps (see bootPlan); the shutdown is
// the same list backwards.
//
// It leaves out everything that a pod can do: addresses, time, disks other
// than the data partition, drivers, updates.
package boot

import (
	"time"

	"kios/init/nfthint"
	"kios/init/systembus"
)

// Step is one entry of the boot.
type Step struct {
	Name string
	// Required steps end the boot when they fail; after others the node comes
	// up with less.
	Required bool
	// Run does the step, or is nil if there is only something to stop.
	Run func(*Node) error
	// Stop undoes what has to be undone before power-off, or is nil. It may run
	// while a Run hangs in another goroutine, so it must not use Node.work.
	Stop func(*Node) error
	// Patience is how long Stop may take on top of stepBound, because it waits for
	// others. It may be nil.
	Patience func(*Node) time.Duration
	// Remedy says what to look at when a required step has failed.
	Remedy string
}

func (s *Step) patience(n *Node) time.Duration {
	if s.Patience == nil {
		return 0
	}
	return s.Patience(n)
}

// plan is the boot in its order, and the two steps of it that a move onto a data
// partition goes back to.
type plan struct {
	steps        []*Step
	mounts, logs *Step
}

// bootPlan returns the boot of a node. containerd is started as soon as it has a
// place to work in, because it takes the longest: what follows runs while it
// starts, and the kubelet waits for it in its socket's queue.
func bootPlan() plan {
	mounts := &Step{Name: "mounts", Stop: (*Node).unmountAll, Patience: (*Node).disksPatience}
	logs := &Step{Name: "logs", Run: (*Node).startLogs, Stop: (*Node).stopLogs}
	steps := []*Step{
		{Name: "devices", Required: true, Run: (*Node).mountDevices, Remedy: kernelRemedy},
		{Name: "options", Required: true, Run: (*Node).readOptions},
		{Name: "kernel-file-systems", Required: true, Run: (*Node).mountPseudo, Remedy: kernelRemedy},
		{Name: "signals", Required: true, Run: (*Node).takeCtrlAltDel},
		{Name: "reaper", Required: true, Run: (*Node).startReaper},
		{Name: "cgroups", Required: true, Run: (*Node).makeCgroups, Remedy: kernelRemedy},
		{Name: "clock", Run: (*Node).setClock},
		{Name: "notify", Required: true, Run: (*Node).listenNotify, Remedy: rootRemedy},
		{Name: "watchdog", Run: (*Node).startWatchdog},
		{Name: "control", Run: (*Node).listenControl},
		{Name: "system-bus", Run: (*Node).listenBus},
		{Name: "system-socket", Run: (*Node).listenSystemSocket},
		{Name: "host-clock", Run: (*Node).shareClock},
		{Name: "clock-steps", Run: (*Node).watchClock},
		mounts,
		{Name: "tmpfs", Required: true, Run: (*Node).mountTmpfs, Remedy: kernelRemedy},
		{Name: "data-partition", Run: (*Node).findAndMapData},
		{Name: "etc", Run: (*Node).mountEtc},
		{Name: "instance", Run: (*Node).checkInstance},
		{Name: "host-paths", Run: (*Node).openHostPaths},
		{Name: "apparmor", Run: (*Node).loadProfiles},
		{Name: "shared-mounts", Run: (*Node).shareMounts},
		logs,
		{Name: "pstore", Run: (*Node).readPstore},
		{Name: "processes", Stop: (*Node).killRest},
		{Name: "sysctls", Run: (*Node).setSysctls, Stop: (*Node).endSysctlTrial},
		{Name: "containerd", Required: true, Run: (*Node).startContainerd, Stop: (*Node).stopContainerd, Remedy: rootRemedy},
		{Name: "loopback", Run: (*Node).loopbackUp},
		{Name: "nftables-hint", Run: func(*Node) error { return nfthint.Make() }},
		{Name: "machine-id", Run: (*Node).setMachineID},
		{Name: "hostname", Run: (*Node).setHostname},
		{Name: "hosts", Run: (*Node).writeHosts},
		{Name: "certificate", Run: (*Node).ensureCertificate},
		{Name: "kubelet-config", Required: true, Run: (*Node).writeDropIn, Remedy: rootRemedy},
		{Name: "containers", Stop: (*Node).stopContainers, Patience: (*Node).containersPatience},
		{Name: "kubelet", Required: true, Run: (*Node).startKubelet, Stop: (*Node).stopKubelet, Remedy: rootRemedy},
	}
	return plan{steps: steps, mounts: mounts, logs: logs}
}

const (
	kernelRemedy = "the kernel lacks something that kiOS needs: boot the kernel that was built with it"
	rootRemedy   = "the root file system is not the one that was built with this init, or memory is full: write the EFI file again, give the machine more memory"
)

// Outcome is how PID 1 ends, for main to act on.
type Outcome struct {
	// Failure, if not nil, says why the machine cannot go on. Otherwise it was
	// stopped in order, and Action says what for.
	Failure error
	Remedy  string
	Action  systembus.Action
	// StayUp asks to keep a failed machine as it is (panic=0).
	StayUp bool
	// Save, if not nil, ends all processes of a failed machine and writes out what its
	// disks have. It has a bound.
	Save func()
}
