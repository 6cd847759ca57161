package userconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	"k8s.io/kubernetes/pkg/kubelet/eviction"
	evictionapi "k8s.io/kubernetes/pkg/kubelet/eviction/api"
	"k8s.io/kubernetes/pkg/kubelet/stats/pidlimit"

	"kios/upstream/kubelet/defaults"
)

// leftForPods is what must be left of a machine for the node's own pods, by their
// requests. A kubelet that finds more reserved than there is ends.
var leftForPods = corev1.ResourceList{
	corev1.ResourceCPU:              resource.MustParse("30m"),
	corev1.ResourceMemory:           resource.MustParse("64Mi"),
	corev1.ResourceEphemeralStorage: resource.MustParse("16Mi"),
	pidlimit.PIDs:                   resource.MustParse("512"),
}

// reserves follows maxPods, and takes back what exceeds the machine.
func (o *corrector) reserves() error {
	if err := o.followPods(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.machine.capacity())) {
		if err := o.fit(name); err != nil {
			return err
		}
	}
	return nil
}

// followPods reserves memory for as many pods as the node can have, if the user says how
// many those are and not what to reserve.
func (o *corrector) followPods() error {
	own, want := o.own.KubeReserved["memory"], o.machine.Size.Reserve(int(o.kc.MaxPods))
	if o.kc.MaxPods == defaults.Pods || o.kc.KubeReserved["memory"] != own || own == "" || own == want {
		return nil
	}
	return o.reserve("memory", want)
}

// reserve gives kubeReserved another value of a resource.
func (o *corrector) reserve(name, value string) error {
	reserved, _ := o.last["kubeReserved"].(map[string]any)
	reserved = maps.Clone(reserved)
	if reserved == nil {
		reserved = map[string]any{}
	}
	reserved[name] = value
	return o.set(map[string]any{"kubeReserved": reserved})
}

// fit takes back what is reserved of a resource when too little is left of it for pods.
func (o *corrector) fit(name corev1.ResourceName) error {
	capacity := o.machine.capacity()[name]
	left := capacity.DeepCopy()
	left.Sub(reservation(o.kc, o.machine.capacity())[name])
	need := leftForPods[name]
	own := capacity.DeepCopy()
	own.Sub(reservation(o.own, o.machine.capacity())[name])
	// A machine on which the node's own reserve leaves no more can have no more.
	if left.Cmp(need) >= 0 || left.Cmp(own) >= 0 {
		return nil
	}
	o.say("%sthis machine has %s of %s, and %s: the node's own reserve is used", o.from("systemReserved", "kubeReserved", "evictionHard"),
		readable(name, capacity), name, o.reasons(name))
	return o.takeBack(name)
}

// reasons lists what is reserved of a resource.
func (o *corrector) reasons(name corev1.ResourceName) string {
	var parts []string
	for _, r := range []struct{ field, value string }{
		{"systemReserved", o.kc.SystemReserved[string(name)]},
		{"kubeReserved", o.kc.KubeReserved[string(name)]},
		{"evictionHard", o.kc.EvictionHard[signals[name]]},
	} {
		if r.value != "" {
			parts = append(parts, r.field+" "+r.value)
		}
	}
	return strings.Join(parts, ", ") + " leave too little for pods"
}

// signals are the eviction signals that reserve, too.
var signals = map[corev1.ResourceName]string{
	corev1.ResourceMemory:           string(evictionapi.SignalMemoryAvailable),
	corev1.ResourceEphemeralStorage: string(evictionapi.SignalNodeFsAvailable),
}

// takeBack gives all that reserves a resource the node's own values.
func (o *corrector) takeBack(name corev1.ResourceName) error {
	fields := map[string]any{
		"systemReserved": map[string]any{string(name): orNil(o.own.SystemReserved[string(name)])},
		"kubeReserved":   map[string]any{string(name): orNil(o.own.KubeReserved[string(name)])},
	}
	if signal := signals[name]; signal != "" {
		fields["evictionHard"] = map[string]any{signal: orNil(o.own.EvictionHard[signal])}
	}
	for field, value := range fields {
		if before, ok := o.last[field].(map[string]any); ok {
			before = maps.Clone(before)
			maps.Copy(before, value.(map[string]any))
			fields[field] = before
		}
	}
	return o.set(fields)
}

func orNil(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// capacity is what the kubelet counts on.
func (m Machine) capacity() corev1.ResourceList {
	all := cadvisor.CapacityFromMachineInfo(m.Info)
	if m.Disk != 0 {
		all[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(m.Disk), resource.BinarySI)
	}
	if m.Size.Threads != 0 {
		all[pidlimit.PIDs] = *resource.NewQuantity(m.Size.Threads, resource.DecimalSI)
	}
	for name := range all {
		if _, ok := leftForPods[name]; !ok {
			delete(all, name) // huge pages cannot be reserved
		}
	}
	return all
}

// reservation adds up as the kubelet's container manager does (GetNodeAllocatableReservation,
// k8s.io/kubernetes/pkg/kubelet/cm). The values have been parsed before.
func reservation(kc *config.KubeletConfiguration, capacity corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name := range capacity {
		var q resource.Quantity
		for _, reserved := range []map[string]string{kc.SystemReserved, kc.KubeReserved} {
			if value, err := resource.ParseQuantity(reserved[string(name)]); err == nil {
				q.Add(value)
			}
		}
		sum[name] = q
	}
	thresholds, _ := eviction.ParseThresholdConfig(nil, kc.EvictionHard, nil, nil, nil)
	for _, t := range thresholds {
		for name, signal := range signals {
			total, ok := capacity[name]
			if ok && string(t.Signal) == signal && t.Operator == evictionapi.OpLessThan {
				q := sum[name]
				q.Add(*evictionapi.GetThresholdQuantity(t.Value, &total))
				sum[name] = q
			}
		}
	}
	return sum
}

// readable writes bytes in mebibytes, since no machine has a round number of them.
func readable(name corev1.ResourceName, q resource.Quantity) string {
	if signals[name] == "" {
		return q.String()
	}
	return fmt.Sprintf("%dMi", q.Value()>>20)
}
