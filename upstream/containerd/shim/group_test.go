package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestAllowGroup(t *testing.T) {
	tests := []struct {
		name, namespace, source string
		want                    bool
	}{
		{"the node's own", "kube-system", "file", true},
		{"of an API server, in kube-system", "kube-system", "api", false},
		{"of another namespace", "default", "file", false},
		{"of a tenant", "tenant", "api", false},
		{"from a web server", "kube-system", "http", false},
		{"of another client of CRI", "kube-system", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			annotations := map[string]string{groupAnnotation: "kios-system", namespaceAnnotation: tt.namespace, "x": "y"}
			if tt.source != "" {
				annotations[sourceAnnotation] = tt.source
			}
			path := filepath.Join(t.TempDir(), "config.json")
			text, err := json.Marshal(map[string]any{"ociVersion": "1.3.0", "annotations": annotations, "linux": map[string]any{"cgroupsPath": "/a"}})
			if err == nil {
				err = os.WriteFile(path, text, 0o644)
			}
			if err == nil {
				err = allowGroup(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			if text, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
			var got struct {
				OCIVersion  string
				Annotations map[string]string
				Linux       struct{ CgroupsPath string }
			}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if _, has := got.Annotations[groupAnnotation]; has != tt.want {
				t.Errorf("the group stays: %v, want %v", has, tt.want)
			}
			if got.OCIVersion != "1.3.0" || got.Annotations["x"] != "y" || got.Linux.CgroupsPath != "/a" {
				t.Errorf("the bundle is %s, want all else as it was", text)
			}
		})
	}
}

func TestBundleWithoutAGroupStays(t *testing.T) {
	for _, text := range []string{`{"annotations":{"a":"b"}}`, `{}`, `{"hostname":"io.containerd.runc.v2.group"}`} {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := allowGroup(path); err != nil {
			t.Errorf("allowGroup of %s: %v", text, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
}
