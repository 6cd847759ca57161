package server

import (
	"context"
	"sync"

	"github.com/containerd/log"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"kios/upstream/containerd/apparmor"
)

// confinement deals with a default AppArmor profile that is not loaded. containerd would
// load it with a program that is not on the node, and so start no container at all.
// Containers that name no profile run unconfined then; one that asks for a profile by
// name does not start without it.
type confinement struct {
	profiles string // the kernel's list
	warn     sync.Once
}

func (c *confinement) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if r, ok := req.(*runtime.CreateContainerRequest); ok && r.GetConfig().GetLinux() != nil {
		c.unconfine(ctx, r.Config.Linux)
	}
	return handle(ctx, req)
}

func (c *confinement) unconfine(ctx context.Context, linux *runtime.LinuxContainerConfig) {
	sc := linux.GetSecurityContext()
	if namesProfile(sc) || sc.GetPrivileged() || !apparmor.Missing(c.profiles) {
		return
	}
	c.warn.Do(func() {
		log.G(ctx).Warnf("the AppArmor profile %s is not loaded: containers that name no profile run unconfined", apparmor.Default)
	})
	if sc == nil {
		sc = &runtime.LinuxContainerSecurityContext{}
		linux.SecurityContext = sc
	}
	sc.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Unconfined}
}

// namesProfile reports whether a container names a profile, in the field for that or in
// the one of older clients, which containerd still reads.
func namesProfile(sc *runtime.LinuxContainerSecurityContext) bool {
	m := sc.ProtoReflect()
	fields := m.Descriptor().Fields()
	return m.Has(fields.ByName("apparmor")) || m.Has(fields.ByName("apparmor_profile"))
}
