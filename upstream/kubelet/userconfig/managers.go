package userconfig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	allocation "k8s.io/kubernetes/pkg/kubelet/allocation/state"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	cpustate "k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	drastate "k8s.io/kubernetes/pkg/kubelet/cm/dra/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	memorystate "k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/utils/cpuset"

	"kios/upstream/kubelet/defaults"
)

// noMemoryManager is a constant of the memory manager's own.
const noMemoryManager = "None"

// managers tries the managers of processors, memory and NUMA nodes with this machine,
// and has none of those that would not start.
func (o *corrector) managers() error {
	if !managed(o.kc) {
		return nil
	}
	var err error
	if o.machine, err = o.machine.withTopology(); err != nil {
		return err
	}
	return o.tryManagers()
}

// managed reports whether the configuration asks for one of the managers.
func managed(kc *config.KubeletConfiguration) bool {
	return kc.ReservedSystemCPUs != "" || kc.CPUManagerPolicy != string(cpumanager.PolicyNone) || len(kc.CPUManagerPolicyOptions) > 0 ||
		kc.MemoryManagerPolicy != noMemoryManager ||
		kc.TopologyManagerPolicy != config.NoneTopologyManagerPolicy || len(kc.TopologyManagerPolicyOptions) > 0
}

func (o *corrector) tryManagers() error {
	for _, m := range []struct {
		try    func(*config.KubeletConfiguration, Machine) error
		adapt  func() error
		fields map[string]any
	}{
		{tryReserved, nil, map[string]any{"reservedSystemCPUs": ""}},
		{tryTopology, nil, map[string]any{"topologyManagerPolicy": "none", "topologyManagerPolicyOptions": nil}},
		{tryCPU, nil, map[string]any{"cpuManagerPolicy": "none", "cpuManagerPolicyOptions": nil}},
		{tryMemory, o.adaptMemory, map[string]any{"memoryManagerPolicy": "None", "reservedMemory": nil}},
	} {
		try := func() error { return withGates(o.kc, func() error { return m.try(o.kc, o.machine) }) }
		err := try()
		if err != nil && m.adapt != nil {
			if fail := m.adapt(); fail != nil {
				return fail
			}
			err = try()
		}
		if err == nil {
			continue
		}
		name := o.named(m.fields)
		o.say("%signoring %s: %s", o.from(name), name, oneLine(err))
		if err := o.set(m.fields); err != nil {
			return err
		}
	}
	return nil
}

// withGates calls a part of the kubelet that looks at the feature gates of the process,
// with those that the files ask for: the kubelet sets the real ones later, and only once.
func withGates(kc *config.KubeletConfiguration, call func() error) error {
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	if err := gates.SetFromMap(kc.FeatureGates); err != nil {
		return fmt.Errorf("featureGates: %w", err)
	}
	real := utilfeature.DefaultFeatureGate
	defer func() { utilfeature.DefaultFeatureGate = real }()
	utilfeature.DefaultFeatureGate = gates
	return call()
}

// named returns the first of the fields that a user's file has: a manager's options may
// be all that is wrong.
func (o *corrector) named(fields map[string]any) string {
	names := slices.Sorted(maps.Keys(fields))
	for _, name := range names {
		if o.said[name] != "" {
			return name
		}
	}
	return names[0]
}

// tryReserved repeats what the kubelet does with reservedSystemCPUs (getReservedCPUs,
// k8s.io/kubernetes/cmd/kubelet/app).
func tryReserved(kc *config.KubeletConfiguration, m Machine) error {
	reserved, err := cpuset.Parse(kc.ReservedSystemCPUs)
	if err != nil || reserved.IsEmpty() {
		return err
	}
	topo, err := topology.Discover(logr.Discard(), m.Info)
	if err != nil {
		return err
	}
	all := topo.CPUDetails.CPUs()
	if !reserved.IsSubsetOf(all) {
		return fmt.Errorf("the processors of this machine are %s, which %s are not among", all, reserved)
	}
	if reserved.Equals(all) {
		return errors.New("they are all that this machine has, and none is left for pods")
	}
	return nil
}

func tryTopology(kc *config.KubeletConfiguration, m Machine) error {
	if kc.TopologyManagerPolicy == config.NoneTopologyManagerPolicy && len(kc.TopologyManagerPolicyOptions) == 0 {
		return nil
	}
	_, err := newTopology(kc, m)
	return err
}

func newTopology(kc *config.KubeletConfiguration, m Machine) (topologymanager.Manager, error) {
	return topologymanager.NewManager(m.Info.Topology, kc.TopologyManagerPolicy, kc.TopologyManagerScope, kc.TopologyManagerPolicyOptions)
}

func tryCPU(kc *config.KubeletConfiguration, m Machine) error {
	if kc.CPUManagerPolicy == string(cpumanager.PolicyNone) && len(kc.CPUManagerPolicyOptions) == 0 {
		return nil
	}
	affinity, err := newTopology(kc, m)
	if err != nil {
		return err
	}
	reserved, _ := cpuset.Parse(kc.ReservedSystemCPUs)
	_, err = cpumanager.NewManager(logr.Discard(), kc.CPUManagerPolicy, kc.CPUManagerPolicyOptions, kc.CPUManagerReconcilePeriod.Duration,
		m.Info, reserved, allReserved(kc, m), "", affinity)
	return err
}

func tryMemory(kc *config.KubeletConfiguration, m Machine) error {
	if kc.MemoryManagerPolicy == noMemoryManager {
		return nil
	}
	_, err := newMemoryManager(kc, m, "")
	return err
}

func newMemoryManager(kc *config.KubeletConfiguration, m Machine, dir string) (memorymanager.Manager, error) {
	affinity, err := newTopology(kc, m)
	if err != nil {
		return nil, err
	}
	return memorymanager.NewManager(logr.Discard(), kc.MemoryManagerPolicy, m.Info, allReserved(kc, m), kc.ReservedMemory, dir, affinity)
}

// allReserved is what the kubelet tells its managers, of memory and processors.
func allReserved(kc *config.KubeletConfiguration, m Machine) corev1.ResourceList {
	all := reservation(kc, m.capacity())
	if reserved, _ := cpuset.Parse(kc.ReservedSystemCPUs); !reserved.IsEmpty() {
		all[corev1.ResourceCPU] = *resource.NewQuantity(int64(reserved.Size()), resource.DecimalSI)
	}
	for name, q := range all {
		if q.IsZero() {
			delete(all, name)
		}
	}
	return all
}

// adaptMemory makes the two sums equal that the memory manager wants so: what is
// reserved on NUMA nodes, and what is reserved in all. The second holds what the node
// reserves by itself, which the user need not know.
func (o *corrector) adaptMemory() error {
	all := allReserved(o.kc, o.machine)[corev1.ResourceMemory]
	if len(o.kc.ReservedMemory) == 0 {
		if len(o.machine.Info.Topology) == 0 {
			return nil
		}
		return o.set(map[string]any{"reservedMemory": []any{map[string]any{
			"numaNode": o.machine.Info.Topology[0].Id, "limits": map[string]any{"memory": all.String()},
		}}})
	}
	kube, err := resource.ParseQuantity(o.own.KubeReserved["memory"])
	if err != nil || o.kc.KubeReserved["memory"] != o.own.KubeReserved["memory"] && o.last["kubeReserved"] == nil {
		return nil // the user has set both sums
	}
	if kube, err = resource.ParseQuantity(o.kc.KubeReserved["memory"]); err != nil {
		return nil
	}
	for _, r := range o.kc.ReservedMemory {
		kube.Add(r.Limits[corev1.ResourceMemory])
	}
	if kube.Sub(all); kube.Sign() < 0 {
		return nil
	}
	return o.reserve("memory", strconv.FormatInt(kube.Value(), 10))
}

// stateFile is a file in which the kubelet keeps what it has decided about pods. It
// ends on one that it cannot read, as a power cut leaves it, and on one that
// contradicts its configuration or the machine, until somebody deletes it.
type stateFile struct {
	name string
	read func(dir, name string, kc *config.KubeletConfiguration, m Machine) error
}

var stateFiles = []stateFile{
	{"cpu_manager_state", readCPUState},
	{"memory_manager_state", readMemoryState},
	{"dra_manager_state", func(dir, name string, _ *config.KubeletConfiguration, _ Machine) error {
		checkpointer, err := drastate.NewCheckpointer(dir, name)
		if err == nil {
			_, err = checkpointer.GetOrCreate()
		}
		return err
	}},
	{"allocated_pods_state", readAllocation},
	{"actuated_pods_state", readAllocation},
}

// PutAside renames state files that the kubelet would end on. Kc is what it will have,
// nil for what it has by itself.
func PutAside(dir string, kc *config.KubeletConfiguration, sys System, say func(format string, args ...any)) {
	if kc == nil {
		kc = &config.KubeletConfiguration{CPUManagerPolicy: string(cpumanager.PolicyNone), MemoryManagerPolicy: noMemoryManager, MaxPods: defaults.Pods}
	}
	var m Machine
	if kc.CPUManagerPolicy != string(cpumanager.PolicyNone) || kc.MemoryManagerPolicy != noMemoryManager {
		m = knownMachine(sys)
	}
	for _, f := range stateFiles {
		path := filepath.Join(dir, f.name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := f.try(dir, kc, m); err != nil {
			putAside(path, err, say)
		}
	}
	putAsideUsers(filepath.Join(dir, "pods"), kc, say)
}

// knownMachine returns the machine with all that is to be known, or with nothing.
func knownMachine(sys System) Machine {
	m, known := sys.Machine()
	if !known {
		return Machine{}
	}
	m, err := m.withTopology()
	if err != nil {
		return Machine{}
	}
	return m
}

// try reads the file. The kubelet's own code panics on some input that it does not expect.
func (f stateFile) try(dir string, kc *config.KubeletConfiguration, m Machine) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	return withGates(kc, func() error { return f.read(dir, f.name, kc, m) })
}

func readAllocation(dir, name string, _ *config.KubeletConfiguration, _ Machine) error {
	_, err := allocation.NewStateCheckpoint(dir, name)
	return err
}

func readCPUState(dir, name string, kc *config.KubeletConfiguration, m Machine) error {
	state, err := cpustate.NewCheckpointState(logr.Discard(), dir, name, kc.CPUManagerPolicy, containermap.ContainerMap{})
	if err != nil || m.Info == nil || kc.CPUManagerPolicy != string(cpumanager.PolicyStatic) {
		return err
	}
	topo, err := topology.Discover(logr.Discard(), m.Info)
	if err != nil {
		return err
	}
	affinity, err := newTopology(kc, m)
	if err != nil {
		return err
	}
	reserved, _ := cpuset.Parse(kc.ReservedSystemCPUs)
	cpus := allReserved(kc, m)[corev1.ResourceCPU]
	policy, err := cpumanager.NewStaticPolicy(logr.Discard(), topo, int(cpus.Value()), reserved, affinity, kc.CPUManagerPolicyOptions)
	if err != nil {
		return err
	}
	return policy.Start(logr.Discard(), state)
}

func readMemoryState(dir, name string, kc *config.KubeletConfiguration, m Machine) error {
	if m.Info == nil || kc.MemoryManagerPolicy == noMemoryManager {
		_, err := memorystate.NewCheckpointState(logr.Discard(), dir, name, kc.MemoryManagerPolicy)
		return err
	}
	manager, err := newMemoryManager(kc, m, dir)
	if err != nil {
		return err
	}
	return manager.Start(context.Background(), nil, nil, nil, nil, containermap.ContainerMap{})
}
