package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"kios/upstream/containerd/server"
)

// rejectedEnv tells a containerd that replaced itself that the user's
// configuration loads but does not work.
const rejectedEnv = "KIOS_CONTAINERD_REJECTED_CONFIG"

// chooseConfig returns args with the value of --config replaced by the file
// layered, in which the user's configuration lies on top of the node's, if the
// user's exists and loads. One that does not is named on standard error, and
// the node comes up with its own configuration. Without --config, and for
// subcommands, args stay as they are.
func chooseConfig(ctx context.Context, args []string, user, layered string) (chosen []string, usesUser bool) {
	rejected := os.Getenv(rejectedEnv) != ""
	os.Unsetenv(rejectedEnv)
	at := slices.Index(args, "--config") + 1
	if at == 0 || at >= len(args) || rejected {
		return args, false
	}
	if _, err := os.Stat(user); os.IsNotExist(err) {
		return args, false
	}
	err := layer(layered, args[at], user)
	if err == nil {
		err = checkConfig(ctx, layered)
	}
	if err != nil {
		ignoring(user, err)
		return args, false
	}
	chosen = slices.Clone(args)
	chosen[at] = layered
	return chosen, true
}

// layer writes a configuration that is made of files, of which later ones win,
// key by key. So the user's needs only what is different on this node.
func layer(path string, files ...string) error {
	content := fmt.Sprintf("version = %d\nimports = [\n", version.ConfigVersion)
	for _, f := range files {
		abs, err := filepath.Abs(f) // otherwise it is relative to path
		if err != nil {
			return err
		}
		content += fmt.Sprintf("  %q,\n", abs)
	}
	return os.WriteFile(path, []byte(content+"]\n"), 0o600)
}

// ignoring writes the one line about a configuration that is not used.
func ignoring(file string, reason error) {
	fmt.Fprintf(os.Stderr, "kios: ignoring %s: %s: using defaults\n", file, strings.Join(strings.Fields(reason.Error()), " "))
}

// checkConfig loads a configuration as containerd will, the sections of the
// plugins included, because containerd exits on the first that does not decode.
func checkConfig(ctx context.Context, file string) error {
	// The loader logs what it also returns, and containerd loads again.
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	ctx = log.WithLogger(ctx, logrus.NewEntry(quiet))
	config := &srvconfig.Config{Version: version.ConfigVersion}
	all := registry.Graph(nil)
	plugins := func() iter.Seq[plugin.Registration] { return slices.Values(all) }
	if err := srvconfig.LoadConfigWithPlugins(ctx, file, plugins, config); err != nil {
		return err
	}
	for _, r := range all {
		if r.Config == nil {
			continue
		}
		// A fresh value: decoding into the registered one would leave traces.
		fresh := reflect.New(reflect.TypeOf(r.Config).Elem()).Interface()
		if _, err := config.Decode(ctx, r.URI(), fresh); err != nil {
			return fmt.Errorf("[plugins.%q]: %w", r.URI(), err)
		}
	}
	return nil
}

// rejectUserConfig is called when CRI cannot start. If that is the doing of
// the user's configuration, containerd starts again, in the same process and
// with the same socket, with the node's own.
func rejectUserConfig(usesUser bool, reason error) {
	if !usesUser {
		return
	}
	ignoring(userConfig, reason)
	env := append(os.Environ(), rejectedEnv+"=1")
	if server.Reinherit() {
		env = append(env, "LISTEN_FDS=1")
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, env); err != nil {
		unix.Exit(1) // init starts us again
	}
}
