package main

import (
	"strings"
	"testing"
)

func TestCheckMinor(t *testing.T) {
	tests := []struct {
		version, newest string
		want            string // in the error; "" for none
	}{
		{"v1.35.4", "v1.37.2", ""},
		{"v1.35.4", "v1.38.0", "change it to v1.36"},
		{"v1.36.1", "v1.37.2", "1 minor versions behind"},
		{"v2.0.0", "v1.37.2", "not a version of Kubernetes"},
		{"v1.x.0", "v1.37.2", "invalid syntax"},
	}
	for _, tt := range tests {
		err := checkMinor("kubelet", tt.version, tt.newest, skew)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("checkMinor(%s, %s) = %v, want %q", tt.version, tt.newest, err, tt.want)
		}
	}
}

func TestNewestRelease(t *testing.T) {
	tests := []struct{ list, want string }{
		{"k8s.io/kubernetes v0.2 v1.9.11 v1.37.2 v1.38.0-alpha.1 v1.38.0-rc.0", "v1.37.2"},
		{"k8s.io/kubernetes v1.37.2 v1.38.0", "v1.38.0"},
		{"k8s.io/kubernetes", ""},
	}
	for _, tt := range tests {
		if got, err := newestRelease(tt.list); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("newestRelease(%q) = %q, %v, want %q", tt.list, got, err, tt.want)
		}
	}
}
