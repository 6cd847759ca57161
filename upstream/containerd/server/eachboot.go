package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// EachBootAnnotation, on a pod with restartPolicy OnFailure, is "true" where its work is to
// be done in each boot, such as to look at the disk, which may have grown meanwhile.
//
// The kubelet learns from the runtime which containers have ended well, and runs them no
// more. Records of containers outlive a reboot. It has no restartPolicy for this.
const EachBootAnnotation = "kios.local/each-boot"

// forgetBound is more than CRI takes for a few pods: the kubelet waits meanwhile.
const forgetBound = 30 * time.Second

// podRecords is the part of CRI that knows which pods there were.
type podRecords interface {
	ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error)
	RemovePodSandbox(context.Context, *runtime.RemovePodSandboxRequest) (*runtime.RemovePodSandboxResponse, error)
}

// eachBoot has CRI forget what earlier boots have left of such pods.
type eachBoot struct {
	cri podRecords // nil if CRI did not load
	// state is a directory in memory: containerd starts several times in a boot.
	state string
}

func newEachBoot(ic *plugin.InitContext, cri any) eachBoot {
	records, _ := cri.(podRecords)
	return eachBoot{cri: records, state: ic.Properties[plugins.PropertyStateDir]}
}

// forget returns when the records are gone. One that cannot be removed is logged, and costs
// that pod's work in this boot, and nothing else.
func (e eachBoot) forget(ctx context.Context) {
	if e.cri == nil || !e.first(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, "k8s.io"), forgetBound)
	defer cancel()
	all, err := e.cri.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		log.G(ctx).WithError(err).Error("list the pods of earlier boots")
	}
	for _, s := range all.GetItems() {
		if s.GetAnnotations()[EachBootAnnotation] != "true" || s.GetState() == runtime.PodSandboxState_SANDBOX_READY {
			continue
		}
		if _, err := e.cri.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: s.GetId()}); err != nil {
			log.G(ctx).WithError(err).WithField("pod", s.GetMetadata().GetName()).Error("forget a pod of an earlier boot: it does not run again")
		}
	}
}

// first tells whether this is the first containerd of the boot, once.
func (e eachBoot) first(ctx context.Context) bool {
	err := os.MkdirAll(e.state, 0o711)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(filepath.Join(e.state, "booted"), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		log.G(ctx).WithError(err).Error("remember that this boot has begun")
	}
	return !errors.Is(err, fs.ErrExist)
}
