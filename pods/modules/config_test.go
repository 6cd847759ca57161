package modules

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/test/lab"
)

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "modules.yaml")
	lab.WriteFile(t, path, `
load:
  - nvme-tcp
  - name: bonding
    parameters: {mode: 802.3ad, max_bonds: 0, arp_ip_target: [10.0.0.1, 10.0.0.2]}
  - name: zfs
    parameters: zfs_arc_max=1 text="a b" flag
  - name: loop
    parameters: {yes_: true, no_: false, text: a b}
  - name: plain
never: [mlx5-core, "8139cp"]
`)
	got, ok, errs := readConfig(path)
	if !ok || len(errs) > 0 {
		t.Fatal(errs)
	}
	want := config{
		load: []entry{
			{"nvme-tcp", nil},
			{"bonding", []string{"arp_ip_target=10.0.0.1,10.0.0.2", "max_bonds=0", "mode=802.3ad"}},
			{"zfs", []string{"zfs_arc_max=1", `text="a b"`, "flag"}},
			{"loop", []string{"no_=0", `text="a b"`, "yes_=1"}},
			{"plain", nil},
		},
		never: map[string]bool{"mlx5_core": true, "8139cp": true},
	}
	options := cmp.Options{cmp.AllowUnexported(config{}, entry{}), cmpopts.IgnoreFields(config{}, "params")}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.load[1].params, got.params["bonding"]); diff != "" {
		t.Errorf("parameters of bonding (-want +got):\n%s", diff)
	}
}

// TestConfigErrors holds that one mistake costs one entry and one line.
func TestConfigErrors(t *testing.T) {
	tests := []struct{ entry, want string }{
		{"- nmae: a", `load[1]: there is no field "nmae"`},
		{"- name: a\n    parameter: b", `load[1]: there is no field "parameter"`},
		{"- 7", "load[1] must be the name of a module"},
		{"- [a]", "load[1] must be the name of a module"},
		{"- ''", "load[1] must be the name of a module"},
		{"-", "load[1] must be the name of a module"},
		{"- /lib/modules/a.ko", `load[1] is "/lib/modules/a.ko", but must be the name of a module, such as nvme_tcp, not a path`},
		{"- a.ko", "not a path or a file"},
		{"- name: [a]", "load[1]: name must be the name of a module"},
		{"- parameters: {}", "load[1]: name must be the name of a module"},
		{"- {name: a, parameters: 3}", "load[1]: parameters of a: they must be a map or a string"},
		{"- {name: a, parameters: {b: {}}}", "parameters of a: b: the value must be a string"},
		{"- {name: a, parameters: {b: null}}", "parameters of a: b: the value must be a string"},
		{"- {name: a, parameters: {b: 'x\"y'}}", "parameters of a: b: a value cannot contain quotation marks"},
		{"- {name: a, parameters: {b c: 1}}", "parameters of a: b c: this is not the name of a parameter"},
		{"- {name: a, parameters: '=1'}", "this is not the name of a parameter"},
		{"- {name: a, parameters: {b: 1, b: 2}}", "twice"},
		{"- good", "load[1]: good is there twice"},
		{"- bad", "load[1]: bad is also named under never"},
	}
	path := filepath.Join(t.TempDir(), "modules.yaml")
	for _, tt := range tests {
		lab.WriteFile(t, path, "never: [bad]\nload:\n  - good\n  "+tt.entry+"\n")
		c, ok, errs := readConfig(path)
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), path) || !strings.Contains(errs[0].Error(), tt.want) || strings.Contains(errs[0].Error(), "\n") {
			t.Errorf("%s: errors %q, want %q", tt.entry, errs, tt.want)
		}
		if ok && (len(c.load) != 1 || !c.never["bad"]) {
			t.Errorf("%s: the rest of the file does not count: %+v", tt.entry, c)
		}
	}
}

func TestConfigAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "modules.yaml")
	for text, want := range map[string]string{
		"laod: [a]\n":   `there is no field "laod"`,
		"load: a\n":     "the field load is a string, but must be a list",
		"load: [a\n":    "line ",
		"\x00\x01\x02":  "binary data",
		"- a\n":         "must be a map of fields",
		"load: [a, b":   "line ",
		"never: {a: b}": "the field never is an object, but must be a list",
	} {
		lab.WriteFile(t, path, text)
		if _, ok, errs := readConfig(path); ok || len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%q: %v, %q, want %q", text, ok, errs, want)
		}
	}
	if _, ok, errs := readConfig(path + "x"); !ok || len(errs) > 0 {
		t.Errorf("no file: %v, %q", ok, errs)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("load: [a, {name: b, parameters: {c: [1, true, x]}}]\nnever: [d]\n")
	f.Add("load:\n  -\n  - name:\n    parameters: 'a=\"'\n")
	path := filepath.Join(f.TempDir(), "modules.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		lab.WriteFile(t, path, text)
		c, _, errs := readConfig(path)
		for _, err := range errs {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: more than one line: %q", text, err)
			}
		}
		for _, e := range c.load {
			if strings.ContainsAny(e.name+strings.Join(e.params, ""), "\n\x00/") && !strings.Contains(text, "/") {
				t.Errorf("%q: %+v", text, e)
			}
		}
	})
}
