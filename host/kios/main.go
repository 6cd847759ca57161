// Command kios builds kiOS, makes disks of it, runs it in virtual machines, shows
// what is inside it and measures it.
//
// Each command has a file of its name, with its flags and what it does; a larger
// one has more that begin with its name. Those of "kios cluster" begin with
// cluster_. What several commands share is in checkout.go and signals.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// What is built must not depend on who builds it.
	syscall.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	// A second signal kills, whatever a command is doing by then.
	context.AfterFunc(ctx, stop)
	os.Exit(exitCode(ctx, newRootCommand().ExecuteContext(ctx)))
}

// interrupted is the exit code of a command that a signal has ended, as in a shell.
const interrupted = 130

// exitCode says how a command ended, on standard error and as a number.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() == nil:
		fmt.Fprintln(os.Stderr, "kios:", err)
		return 1
	case endedByUs(err):
		fmt.Fprintln(os.Stderr, "kios: interrupted")
	default:
		fmt.Fprintln(os.Stderr, "kios: interrupted:", err)
	}
	return interrupted
}

// endedByUs reports whether an error says nothing but that something was ended.
func endedByUs(err error) bool {
	var exit *exec.ExitError
	return errors.Is(err, context.Canceled) || errors.As(err, &exit)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kios",
		Short: "Build, run and examine kiOS, the Kubernetes Operating System",
		Long: `kiOS turns a machine into a Kubernetes node and nothing else: one EFI file with
a kernel, a container runtime and the kubelet. Everything else is a pod.

Start with "kios build", then "kios run": it boots a node in a virtual machine
and shows an example pod running on it. "kios image" makes a disk for a real
machine. "kios cluster up" starts a whole cluster of virtual machines.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	addGroup(root, "use", "Commands:",
		newBuildCommand(),
		newRunCommand(),
		newImageCommand(),
		newInspectCommand(),
		newClusterCommand(),
	)
	addGroup(root, "develop", "Commands for work on kiOS itself:",
		newDepsCommand(),
		newReproduceCommand(),
		newBenchCommand(),
		newSkewCommand(),
		newRelayCommand(),
	)
	return root
}

// addGroup adds commands that help shows under a title of their own.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}
