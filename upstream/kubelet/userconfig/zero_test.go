package userconfig

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// zeroOf is how a file says that a field has no value, "" if it cannot.
func zeroOf(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return zeroOf(t.Elem())
	case t == reflect.TypeFor[metav1.Duration]():
		return "0s"
	}
	return map[reflect.Kind]string{
		reflect.String: `""`, reflect.Int32: "0", reflect.Int64: "0", reflect.Float64: "0",
		reflect.Slice: "[]", reflect.Map: "{}", reflect.Struct: "{}",
	}[t.Kind()]
}

// refusedZeros are fields for which zero is not upstream's default: its kubelet ends.
var refusedZeros = []string{
	"cpuCFSQuotaPeriod", "imageGCHighThresholdPercent", "memoryThrottlingFactor", "maxParallelImagePulls",
	"containerLogMaxFiles", "containerLogMaxWorkers", "containerLogMonitorInterval",
}

// Programs that write a configuration often write all fields. One without a value is not
// a user's wish: it costs nothing, and no line.
func TestFieldsWithoutValue(t *testing.T) {
	var zeros, nulls strings.Builder
	zeros.WriteString(head)
	nulls.WriteString(head)
	for name, kind := range jsonFields(reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]()) {
		if name == "apiVersion" || name == "kind" {
			continue
		}
		nulls.WriteString(name + ": null\n")
		if zero := zeroOf(kind); zero != "" && !slices.Contains(refusedZeros, name) {
			zeros.WriteString(name + ": " + zero + "\n")
		}
	}
	for _, text := range []string{zeros.String(), nulls.String()} {
		kc, log := effective(t, testSystem, false, map[string]string{"config.yaml": text})
		if log != "" {
			t.Errorf("log = %q, want nothing of the file\n%s", log, text)
		}
		if kc.ResolverConfig == "" {
			kc.ResolverConfig = "/etc/resolv.conf" // "" is a wish here: no name servers
		}
		checkOurs(t, kc)
	}
}

// A line has a field by the name that it has in a file.
func TestNegativeDurations(t *testing.T) {
	text, names := head, []string{}
	for name, kind := range jsonFields(reflect.TypeFor[kubeletv1beta1.KubeletConfiguration]()) {
		if (kind == reflect.TypeFor[metav1.Duration]() || kind == reflect.TypeFor[*metav1.Duration]()) && name != "volumeStatsAggPeriod" {
			text, names = text+name+": -1s\n", append(names, name)
		}
	}
	_, log := effective(t, testSystem, false, map[string]string{"config.yaml": text})
	for _, name := range names {
		if !strings.Contains(log, "ignoring "+name+": "+name+" -1s is negative") {
			t.Errorf("no line about %s:\n%s", name, log)
		}
	}
}
