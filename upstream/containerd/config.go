package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kios/upstream/containerd/server"
	"kios/upstream/containerd/userconfig"
)

// rejectedEnv tells a containerd that replaced itself that the user's
// configuration loads but does not work.
const rejectedEnv = "KIOS_CONTAINERD_REJECTED_CONFIG"

// chooseConfig returns args with the value of --config replaced by the file layered, in
// which what can be used of the user's configuration lies over the node's, if the user
// has one. What cannot be used is named on standard error. Without --config, and for
// subcommands, args stay as they are.
func chooseConfig(ctx context.Context, args []string, etc, layered string) (chosen []string, usesUser bool) {
	rejected := os.Getenv(rejectedEnv) != ""
	os.Unsetenv(rejectedEnv)
	at := slices.Index(args, "--config") + 1
	if at == 0 || at >= len(args) || rejected {
		return args, false
	}
	result, err := userconfig.Source{Node: args[at], Etc: etc}.Load(ctx)
	if err == nil {
		for _, line := range result.Lines {
			fmt.Fprintf(os.Stderr, "kios: %s\n", line)
		}
		if result.Config == nil {
			return args, false
		}
		err = os.WriteFile(layered, result.Config, 0o600)
	}
	if err != nil {
		ignoring(err)
		return args, false
	}
	chosen = slices.Clone(args)
	chosen[at] = layered
	return chosen, true
}

// checkConfig prints what the node would say about the user's configuration in a directory
// that is laid out as /etc is.
func checkConfig(ctx context.Context, etc string) error {
	if info, err := os.Stat(etc); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a directory", etc)
	}
	node, err := besides("usr/share/kios/containerd.toml")
	if err != nil {
		return err
	}
	result, err := userconfig.Source{Node: node, Etc: etc, Elsewhere: true}.Load(ctx)
	if err != nil {
		return err
	}
	for _, line := range result.Lines {
		fmt.Println(line)
	}
	return nil
}

// besides returns the path of a file of the root that this program is in.
func besides(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "..", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: take %s out of kios.efi, too, and put it beside the directory of this program", err, name)
	}
	return path, nil
}

// ignoring writes the one line about a configuration that is not used.
func ignoring(reason error) {
	fmt.Fprintf(os.Stderr, "kios: ignoring /etc/%s: %s: using defaults\n", userconfig.Main, strings.Join(strings.Fields(reason.Error()), " "))
}

// rejectUserConfig is called when CRI cannot start. If that is the doing of
// the user's configuration, containerd starts again, in the same process and
// with the same socket and watchdog, with the node's own.
func rejectUserConfig(usesUser bool, reason error, watchdog time.Duration) {
	if !usesUser {
		return
	}
	ignoring(reason)
	env := append(os.Environ(), rejectedEnv+"=1")
	if watchdog > 0 {
		env = append(env, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))
	}
	if server.Reinherit() {
		env = append(env, "LISTEN_FDS=1")
	}
	if err := syscall.Exec("/proc/self/exe", os.Args, env); err != nil {
		unix.Exit(1) // init starts us again
	}
}
