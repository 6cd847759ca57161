package place

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/instance"
	"kios/internal/kubeletargs"
	"kios/internal/wholefile"
	"kios/pods/filewatch"
	"kios/pods/metadata/want"
)

// AwaitJoined writes the file n.Joined when the node is in its cluster: when the kubelet
// has its certificate, or a kubeconfig that needs none. It returns then, or when ctx ends.
func AwaitJoined(ctx context.Context, root string, n *want.Node) error {
	if n.Joined == "" {
		return nil
	}
	if err := instance.Check(root, n.Joined); err != nil || !strings.HasPrefix(n.Joined, "/run/") {
		return fmt.Errorf("%.200q does not say that the node has joined: name a file below /run", n.Joined)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := filewatch.File(ctx, filepath.Join(root, "var/lib/kubelet/pki/kubelet-client-current.pem"))
	if err != nil {
		return err
	}
	for !(kubeletargs.Files{Root: root}).Known() {
		if _, open := <-changes; !open {
			return ctx.Err()
		}
	}
	path := filepath.Join(root, n.Joined)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Volatile(path, []byte("success\n"), 0o644)
}
