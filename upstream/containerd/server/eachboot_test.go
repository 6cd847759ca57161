package server

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// records are those of CRI. One of them cannot be removed.
type records struct {
	all     []*runtime.PodSandbox
	removed []string
}

func (r *records) ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	return &runtime.ListPodSandboxResponse{Items: r.all}, nil
}

func (r *records) RemovePodSandbox(_ context.Context, req *runtime.RemovePodSandboxRequest) (*runtime.RemovePodSandboxResponse, error) {
	if req.GetPodSandboxId() == "stuck" {
		return nil, errors.New("a test")
	}
	r.removed = append(r.removed, req.GetPodSandboxId())
	return &runtime.RemovePodSandboxResponse{}, nil
}

// The first containerd of a boot, and no later one, forgets the pods that ask for it, and no
// other, and none that runs.
func TestForget(t *testing.T) {
	sandbox := func(id, value string, state runtime.PodSandboxState) *runtime.PodSandbox {
		return &runtime.PodSandbox{Id: id, State: state, Annotations: map[string]string{EachBootAnnotation: value}}
	}
	const ended, runs = runtime.PodSandboxState_SANDBOX_NOTREADY, runtime.PodSandboxState_SANDBOX_READY
	cri := &records{all: []*runtime.PodSandbox{
		sandbox("stuck", "true", ended), sandbox("disk", "true", ended), sandbox("other", "", ended),
		sandbox("odd", "yes", ended), sandbox("running", "true", runs), {Id: "none"},
	}}
	e := eachBoot{cri: cri, state: filepath.Join(t.TempDir(), "made")}
	for range 2 {
		e.forget(t.Context())
		if want := []string{"disk"}; !slices.Equal(cri.removed, want) {
			t.Errorf("it forgot %q, want %q", cri.removed, want)
		}
	}
	eachBoot{state: t.TempDir()}.forget(t.Context()) // CRI did not load
}
