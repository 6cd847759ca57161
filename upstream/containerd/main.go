// Containerd is the unmodified containerd with the plugins that a Kubernetes
// node needs and a few of our own: a gRPC server on a socket that init holds
// and that never answers "not ready", an importer of image archives, reports
// of container starts and exits to init, and a differ that survives power cuts.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"kios/upstream/containerd/apparmor"
	"kios/upstream/containerd/differ"
	"kios/upstream/containerd/importer"
	"kios/upstream/containerd/nodeevents"
	"kios/upstream/containerd/regular"
	"kios/upstream/containerd/runtimeinfo"
	"kios/upstream/containerd/server"
)

// layeredConfig is where the node's configuration is with the user's over it.
const layeredConfig = "/run/kios/containerd.toml"

// networks is where CNI's configuration is.
const networks = "/etc/cni/net.d"

// say prints a line that init repeats in the kernel's log.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "kios: "+format+"\n", args...) }

// etcVariable names the directory with the user's files where it is not /etc: init has
// containerd start with files that worked before, or with none.
const etcVariable = "KIOS_ETC"

// tools are commands of our own, which start no containerd.
var tools = map[string]func(ctx context.Context, args []string) error{
	"kios-check-config": func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return errors.New("usage: containerd kios-check-config DIRECTORY")
		}
		register(nil, server.Options{})
		return checkConfig(ctx, args[0])
	},
	"kios-apparmor-profile": func(context.Context, []string) error { return apparmor.Print(os.Stdout) },
}

func main() {
	run := start
	if len(os.Args) > 1 {
		if tool := tools[os.Args[1]]; tool != nil {
			run = func(ctx context.Context) error { return tool(ctx, os.Args[2:]) }
		}
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context) error {
	return startWith(ctx, os.Args, etcDirectory(), layeredConfig)
}

// startWith is containerd with these arguments, the user's files in etc, and a file for
// what they make of the node's configuration.
func startWith(ctx context.Context, args []string, etc, layered string) error {
	listener, err := server.Inherited()
	if err != nil {
		return err
	}
	ownDecompressors()
	time.AfterFunc(bootTime, saveMemory)
	usesUserConfig := false
	watchdog := server.Watchdog()
	notify := nodeevents.Open(os.Getenv("NOTIFY_SOCKET"))
	register(notify, server.Options{
		Listener:  listener,
		Watchdog:  watchdog,
		Alive:     notify.Alive,
		CRIReady:  wrapRegistrations(),
		CRIFailed: func(reason error) { rejectUserConfig(usesUserConfig, reason, watchdog) },
	})
	args, usesUserConfig = chooseConfig(ctx, args, etc, layered)
	// CRI reads these before it is ready, and a named pipe among them would hold it up.
	regular.PutAside(networks, []string{".conf", ".conflist", ".json"}, 1<<20, say)
	return command.App().Run(ctx, args)
}

// bootTime is how long a boot takes at most, until its pods run.
const bootTime = 30 * time.Second

// saveMemory gives back the garbage of the boot, and collects more often from now on. In
// the boot itself processors are scarcer than memory.
func saveMemory() {
	debug.SetGCPercent(75)
	debug.FreeOSMemory()
}

// ownDecompressors has layers decompressed here, and by no program that happens to be in
// PATH, where CNI plugins and other runtimes are, too.
func ownDecompressors() {
	os.Setenv("CONTAINERD_DISABLE_PIGZ", "1")
	os.Setenv("CONTAINERD_DISABLE_IGZIP", "1")
}

// register registers our plugins.
func register(notify *nodeevents.Notifier, o server.Options) {
	differ.Register()
	importer.Register(notify)
	nodeevents.Register(notify)
	server.Register(o)
}

// etcDirectory returns the directory with the user's files. The variable is removed, so
// that shims and plugins do not inherit it.
func etcDirectory() string {
	defer os.Unsetenv(etcVariable)
	if dir := os.Getenv(etcVariable); dir != "" {
		return dir
	}
	return "/etc"
}

// wrapRegistrations puts our hooks around two of containerd's plugins, which
// is what the registry offers instead of a patch: it returns a channel that is
// closed when CRI is initialised, and gives the runtime answers of its own.
func wrapRegistrations() (criReady <-chan struct{}) {
	ready := make(chan struct{})
	all := registry.Graph(nil)
	registry.Reset()
	for i := range all {
		r := &all[i]
		switch r.URI() {
		case "io.containerd.grpc.v1.cri":
			r.InitFn = closeWhenReady(ready, r.InitFn)
		case "io.containerd.runtime.v2.task":
			r.InitFn = runtimeinfo.Wrap(r.InitFn, ready)
		}
		registry.Register(r)
	}
	return ready
}

type initFunc = func(*plugin.InitContext) (any, error)

// closeWhenReady closes ready when the plugin reports its readiness.
func closeWhenReady(ready chan struct{}, init initFunc) initFunc {
	return func(ic *plugin.InitContext) (any, error) {
		register := ic.RegisterReadiness
		ic.RegisterReadiness = func() func() {
			done := register()
			return func() {
				close(ready)
				done()
			}
		}
		return init(ic)
	}
}
