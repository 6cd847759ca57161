package userconfig

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	conversion "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
)

// What is withdrawn of the filled-in defaults is kept by hand. A user's file has the defaults
// of a kubelet elsewhere, which has everything in one file.
func TestDefaultsAreThoseOfOneFile(t *testing.T) {
	const file = "../../../rootfs/usr/share/kios/kubelet.yaml"
	filled, err := newChecker(file, t.TempDir(), testSystem)
	if err != nil {
		t.Fatal(err)
	}
	plain := &checker{codecs: filled.codecs, merged: []byte("{}")}
	if err := plain.mergeOwn(file); err != nil {
		t.Fatal(err)
	}
	var own map[string]any
	if err := json.Unmarshal(plain.merged, &own); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, change := range append(switchedGates(), changedFields(t, filled.own)...) {
		want, err := inOneFile(plain, change)
		a := filled.try(&document{file: "config.yaml", fields: withHead(change)})
		if err != nil || len(a.errs) > 0 { // a gate that another one needs, or a value that the kubelet refuses
			if err == nil && !slices.ContainsFunc(faults(want), func(err error) bool { return !filled.known[err.Error()] }) {
				t.Errorf("%v is good in one file, and in a drop-in %v", change, a.errs)
			}
			continue
		}
		kc, err := filled.patched(a.merged, a.yields)
		if err != nil {
			t.Fatal(err)
		}
		compared++
		got := fieldsOf(t, kc)
		for name, value := range fieldsOf(t, want) {
			// A default of the node's own file may be withdrawn: it is none of the kubelet's.
			if own[name] == nil && !reflect.DeepEqual(got[name], value) {
				t.Errorf("with %v in a drop-in, %s is %v, and in one file %v", change, name, got[name], value)
			}
		}
	}
	if compared < 100 {
		t.Errorf("%d changes were compared, want the most of the gates and fields", compared)
	}
}

// inOneFile returns what the kubelet has if a change is in its --config.
func inOneFile(plain *checker, change map[string]any) (kc *config.KubeletConfiguration, err error) {
	defer func() { // as in read
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	patch, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(plain.merged, patch)
	if err != nil {
		return nil, err
	}
	return plain.parse(merged)
}

// switchedGates has each feature gate the other way round, by itself.
func switchedGates() (changes []map[string]any) {
	all := utilfeature.DefaultMutableFeatureGate.GetAll()
	for _, gate := range slices.Sorted(maps.Keys(all)) {
		if !all[gate].LockToDefault {
			changes = append(changes, map[string]any{"featureGates": map[string]any{string(gate): !all[gate].Default}})
		}
	}
	return changes
}

// changedFields has another value for each field of a simple type, by itself.
func changedFields(t *testing.T, kc *config.KubeletConfiguration) (changes []map[string]any) {
	fields := fieldsOf(t, kc)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch value := fields[name].(type) {
		case bool:
			changes = append(changes, map[string]any{name: !value})
		case float64:
			changes = append(changes, map[string]any{name: value + 1}, map[string]any{name: value - 1})
		case string:
			changes = append(changes, map[string]any{name: "7s"})
		}
	}
	return changes
}

func fieldsOf(t *testing.T, kc *config.KubeletConfiguration) (fields map[string]any) {
	t.Helper()
	var v kubeletv1beta1.KubeletConfiguration
	if err := conversion.Convert_config_KubeletConfiguration_To_v1beta1_KubeletConfiguration(kc, &v, nil); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fields
}
