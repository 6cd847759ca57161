// Command kios builds kiOS, makes disks of it, runs it in a virtual machine,
// shows what is inside it and measures it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// What is built must not depend on who builds it.
	syscall.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), interrupts()...)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "kios:", err)
		os.Exit(1)
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kios",
		Short: "Build, run and examine kiOS, the Kubernetes Operating System",
		Long: `kiOS turns a machine into a Kubernetes node and nothing else: one EFI file with
a kernel, a container runtime and the kubelet. Everything else is a pod.

Start with "kios build", then "kios run": it boots a node in a virtual machine
and shows an example pod running on it. "kios image" makes a disk for a real one.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newBuildCommand(),
		newImageCommand(),
		newRunCommand(),
		newInspectCommand(),
		newBenchCommand(),
		newReproduceCommand(),
		newDepsCommand(),
		newClusterCommand(),
		newSkewCommand(),
	)
	return root
}
