package server

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// namespaceUnary copies the containerd namespace of an incoming call to the
// outgoing side of its context, where calls made on its behalf look for it.
func namespaceUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	return handle(withNamespace(ctx), req)
}

func namespaceStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return handle(srv, namespacedStream{ss})
}

type namespacedStream struct{ grpc.ServerStream }

func (s namespacedStream) Context() context.Context { return withNamespace(s.ServerStream.Context()) }

func withNamespace(ctx context.Context) context.Context {
	if ns, ok := namespaces.Namespace(ctx); ok {
		return namespaces.WithNamespace(ctx, ns)
	}
	return ctx
}

// waitForCRI holds calls to CRI until it is closed. CRI answers earlier ones
// with Unavailable, on which the kubelet exits.
type waitForCRI <-chan struct{}

func (w waitForCRI) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := w.wait(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (w waitForCRI) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := w.wait(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, ss)
}

func (w waitForCRI) wait(ctx context.Context, method string) error {
	if !strings.HasPrefix(method, "/runtime.v1.") {
		return nil
	}
	select {
	case <-w:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// pendingImages is what the server asks the importer of archives.
type pendingImages interface {
	// Pending returns a channel that is closed at the next change if an archive
	// that is not imported yet may bring the image ref, else nil.
	Pending(ref string) <-chan struct{}
	// Named is the same for an archive that is known to bring it.
	Named(ref string) <-chan struct{}
	// SandboxImage is the image of every pod's sandbox.
	SandboxImage() string
}

// waitForImages holds calls that need an image back while an archive may still
// bring it. The kubelet would try to pull the image, and try again only after
// ten seconds and more.
func waitForImages(p pendingImages) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if p == nil {
			return handle(ctx, req)
		}
		switch r := req.(type) {
		case *runtime.ImageStatusRequest:
			return imageStatus(ctx, p, r, handle)
		case *runtime.PullImageRequest:
			// Until no archive is left that may bring it.
			waitWhile(ctx, p.Pending, r.GetImage().GetImage())
		case *runtime.RunPodSandboxRequest:
			// Only while it is known to be on its way: an archive whose names are
			// not known yet must not hold up all pods, the network's among them.
			waitWhile(ctx, p.Named, p.SandboxImage())
		}
		return handle(ctx, req)
	}
}

// imageStatus asks again after every import until the image is found, or
// nothing is left that may bring it.
func imageStatus(ctx context.Context, p pendingImages, req *runtime.ImageStatusRequest, handle grpc.UnaryHandler) (any, error) {
	// What an earlier boot left under this name may be about to be replaced.
	waitWhile(ctx, p.Named, req.GetImage().GetImage())
	for {
		// Before the question: an import may end between the two.
		changed := p.Pending(req.GetImage().GetImage())
		answer, err := handle(ctx, req)
		if changed == nil || err != nil {
			return answer, err
		}
		if s, ok := answer.(*runtime.ImageStatusResponse); !ok || s.GetImage() != nil {
			return answer, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return answer, nil
		}
	}
}

// waitWhile returns when pending does not return a channel any more.
func waitWhile(ctx context.Context, pending func(string) <-chan struct{}, ref string) {
	for changed := pending(ref); changed != nil; changed = pending(ref) {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
