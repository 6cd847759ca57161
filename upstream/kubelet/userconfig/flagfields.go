package userconfig

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	conversion "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
)

// fieldFlags are the flags that set fields of a configuration.
func fieldFlags(kc *config.KubeletConfiguration) *pflag.FlagSet {
	flags := newFlagSet()
	options.AddKubeletConfigFlags(flags, kc)
	// The kubelet has this one beside the field, and takes what either says.
	flags.BoolVar(&kc.SeccompDefault, "seccomp-default", kc.SeccompDefault, "")
	return flags
}

// fieldNames has the flags that are fields.
var fieldNames = sync.OnceValue(func() *pflag.FlagSet { return fieldFlags(&config.KubeletConfiguration{}) })

func isField(name string) bool { return fieldNames().Lookup(name) != nil }

// setFields sets flags, one after another: it depends on the flag whether the last one
// counts, or all do.
func setFields(set *pflag.FlagSet, flags []userFlag) (err error) {
	defer func() { // as in read
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	for _, f := range flags {
		if !isField(f.name) {
			continue
		}
		if err := set.Set(f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

// flagFields returns the fields that flags set, by their names in a file. No code says
// which these are, so they are what differs afterwards: from a configuration without
// values, and, for values that are nothing themselves, from one that is full of others.
func flagFields(flags []userFlag) (map[string]any, error) {
	fields := map[string]any{}
	for _, full := range []bool{true, false} {
		kc := &config.KubeletConfiguration{}
		set := fieldFlags(kc) // sets some defaults
		if full {
			occupy(reflect.ValueOf(kc).Elem())
		}
		before, err := fieldMap(kc)
		if err == nil {
			err = setFields(set, flags)
		}
		if err != nil {
			return nil, err
		}
		after, err := fieldMap(kc)
		if err != nil {
			return nil, err
		}
		merge(fields, changed(before, after))
	}
	return fields, nil
}

// fieldMap returns a configuration as a file has it.
func fieldMap(kc *config.KubeletConfiguration) (fields map[string]any, err error) {
	var v kubeletv1beta1.KubeletConfiguration
	if err := conversion.Convert_config_KubeletConfiguration_To_v1beta1_KubeletConfiguration(kc, &v, nil); err != nil {
		return nil, err
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	return fields, err
}

// changed returns what is otherwise in after. What is not there any more is nothing of its
// kind.
func changed(before, after map[string]any) map[string]any {
	diff := map[string]any{}
	for name, value := range after {
		was, inner := before[name], map[string]any(nil)
		old, isMap := was.(map[string]any)
		if isMap {
			inner, isMap = value.(map[string]any)
		}
		if isMap {
			if inner = changed(old, inner); len(inner) > 0 {
				diff[name] = inner
			}
		} else if !reflect.DeepEqual(was, value) {
			diff[name] = value
		}
	}
	for name, value := range before {
		if _, there := after[name]; !there {
			diff[name] = nothing(value)
		}
	}
	return diff
}

// nothing is an empty value of the same kind, as a file has it. A nil slice would be none.
func nothing(value any) any {
	if _, list := value.([]any); list {
		return []any{}
	}
	return reflect.Zero(reflect.TypeOf(value)).Interface()
}

// merge puts the fields of another map into one.
func merge(into, from map[string]any) {
	for name, value := range from {
		inner, isMap := value.(map[string]any)
		old, wasMap := into[name].(map[string]any)
		if isMap && wasMap {
			old = maps.Clone(old)
			merge(old, inner)
			into[name] = old
		} else {
			into[name] = value
		}
	}
}

// occupy gives every field a value, but for maps: of those a flag replaces single keys.
func occupy(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		occupy(v.Index(0))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[resource.Quantity]() {
			v.Set(reflect.ValueOf(resource.MustParse("1")))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				occupy(v.Field(i))
			}
		}
	}
}
