package main

// The built-in plugins that a Kubernetes node needs, and no others. Left out
// on purpose: the snapshotters btrfs, zfs, devmapper, blockfile, native and
// erofs, the restart monitor, opt, tracing, Prometheus metrics, and the
// debug, metrics and TCP servers. The gRPC server and the differ are ours.
import (
	_ "github.com/containerd/containerd/api/types/runc/options" // decodes a runtime's options

	_ "github.com/containerd/containerd/v2/core/runtime/v2"                  // starts shims
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"     // blobs
	_ "github.com/containerd/containerd/v2/plugins/cri"                      // what the kubelet speaks
	_ "github.com/containerd/containerd/v2/plugins/cri/images"               // CRI, images
	_ "github.com/containerd/containerd/v2/plugins/cri/runtime"              // CRI, its configuration
	_ "github.com/containerd/containerd/v2/plugins/events"                   // event exchange
	_ "github.com/containerd/containerd/v2/plugins/gc"                       // garbage collection
	_ "github.com/containerd/containerd/v2/plugins/imageverifier"            // policy for pulled images
	_ "github.com/containerd/containerd/v2/plugins/leases"                   // protects what is being pulled
	_ "github.com/containerd/containerd/v2/plugins/metadata"                 // meta.db
	_ "github.com/containerd/containerd/v2/plugins/mount"                    // mount manager
	_ "github.com/containerd/containerd/v2/plugins/nri"                      // off, unless the user wants it
	_ "github.com/containerd/containerd/v2/plugins/sandbox"                  // CRI needs a sandbox store
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"             // shims publish events here
	_ "github.com/containerd/containerd/v2/plugins/services/containers"      // cAdvisor
	_ "github.com/containerd/containerd/v2/plugins/services/content"         //
	_ "github.com/containerd/containerd/v2/plugins/services/diff"            //
	_ "github.com/containerd/containerd/v2/plugins/services/events"          // also over ttrpc
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"     //
	_ "github.com/containerd/containerd/v2/plugins/services/images"          //
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"   // CRI asks for runtime features
	_ "github.com/containerd/containerd/v2/plugins/services/leases"          //
	_ "github.com/containerd/containerd/v2/plugins/services/mounts"          //
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"      //
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"         //
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"       //
	_ "github.com/containerd/containerd/v2/plugins/services/streaming"       //
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"           // cAdvisor
	_ "github.com/containerd/containerd/v2/plugins/services/transfer"        //
	_ "github.com/containerd/containerd/v2/plugins/services/version"         // cAdvisor
	_ "github.com/containerd/containerd/v2/plugins/services/warning"         // required by several of the above
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin" // the one snapshotter
	_ "github.com/containerd/containerd/v2/plugins/streaming"                //
	_ "github.com/containerd/containerd/v2/plugins/transfer"                 // pulls
)
