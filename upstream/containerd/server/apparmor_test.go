package server

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// older is what a client says that does not know the newer field.
func older(t *testing.T, profile string) *runtime.LinuxContainerSecurityContext {
	t.Helper()
	var sc runtime.LinuxContainerSecurityContext
	if err := json.Unmarshal([]byte(`{"apparmor_profile": "`+profile+`"}`), &sc); err != nil {
		t.Fatal(err)
	}
	return &sc
}

func TestContainersStartWithoutTheDefaultProfile(t *testing.T) {
	unconfined, byName := runtime.SecurityProfile_Unconfined, runtime.SecurityProfile_RuntimeDefault
	tests := []struct {
		name    string
		context *runtime.LinuxContainerSecurityContext
		loaded  string
		want    *runtime.SecurityProfile
	}{
		{"names none", &runtime.LinuxContainerSecurityContext{}, "", &runtime.SecurityProfile{ProfileType: unconfined}},
		{"has no context", nil, "", &runtime.SecurityProfile{ProfileType: unconfined}},
		{"names the default", &runtime.LinuxContainerSecurityContext{Apparmor: &runtime.SecurityProfile{ProfileType: byName}}, "", &runtime.SecurityProfile{ProfileType: byName}},
		{"names it in the old way", older(t, "runtime/default"), "", nil},
		{"privileged", &runtime.LinuxContainerSecurityContext{Privileged: true}, "", nil},
		{"profile loaded", &runtime.LinuxContainerSecurityContext{}, "cri-containerd.apparmor.d (enforce)\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := filepath.Join(t.TempDir(), "profiles")
			if err := os.WriteFile(list, []byte(tt.loaded), 0o600); err != nil {
				t.Fatal(err)
			}
			c := &confinement{profiles: list}
			req := &runtime.CreateContainerRequest{Config: &runtime.ContainerConfig{Linux: &runtime.LinuxContainerConfig{SecurityContext: tt.context}}}
			var got *runtime.SecurityProfile
			_, err := c.unary(t.Context(), req, nil, func(_ context.Context, req any) (any, error) {
				got = req.(*runtime.CreateContainerRequest).Config.Linux.SecurityContext.GetApparmor()
				return nil, nil
			})
			if err != nil || (got == nil) != (tt.want == nil) || got.GetProfileType() != tt.want.GetProfileType() {
				t.Errorf("profile = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}
