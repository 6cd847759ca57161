// Command system is the one program in the images of the system pods. Each of its
// subcommands is a service, which runs as PID 1 of a container in a pod of its own.
// The pod's manifest configures it by flags. It logs to standard output, in lines
// for people.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"kios/pods/credentialprovider"
	"kios/pods/disk"
	"kios/pods/metadata"
	"kios/pods/modules"
	"kios/pods/network"
	"kios/pods/node"
	"kios/pods/service"
	chrony "kios/pods/time"
)

// commands are the services of the pods. A new pod adds its row here.
var commands = []service.Command{
	credentialprovider.Command,
	disk.Command,
	node.Command,
	modules.Command,
	network.Command,
	chrony.Command,
	metadata.Command,
}

func main() {
	logger := log.New(service.Lines(os.Stdout), "", 0) // the kubelet keeps the time of each line
	c := pick(os.Args[1:])
	if c == nil {
		usage()
		os.Exit(2)
	}
	run := parse(c, os.Args[2:])
	// The heaps of the services are small. Without this, Go would let 4 MB of garbage
	// gather in each.
	debug.SetGCPercent(10)
	// PID 1 of a container has to catch the signals that are to end it: the kernel
	// does not apply their default action.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() {
		time.Sleep(stopBound)
		os.Exit(stopped(c)) // whatever the service still waits for: what it has set stays
	})
	switch err := run(ctx, logger); {
	case ctx.Err() != nil:
		os.Exit(stopped(c))
	case err != nil:
		logger.Printf("%s: %v", c.Name, err)
		os.Exit(1)
	}
}

// stopped is the exit code of a service that a signal ends.
func stopped(c *service.Command) int {
	if c.Once {
		return 1
	}
	return 0
}

// stopBound is how long a service may take to end.
const stopBound = 3 * time.Second

func pick(args []string) *service.Command {
	if len(args) == 0 {
		return nil
	}
	for i := range commands {
		if commands[i].Name == args[0] {
			return &commands[i]
		}
	}
	return nil
}

// parse reads the flags of a subcommand, which takes other arguments only if it says so.
// A mistake ends the process.
func parse(c *service.Command, args []string) func(context.Context, *log.Logger) error {
	flags := flag.NewFlagSet(c.Name, flag.ExitOnError)
	run := c.Flags(flags)
	_ = flags.Parse(args) // it exits
	if c.Args == "" && flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", c.Name, flags.Arg(0))
		os.Exit(2)
	}
	return run
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: system SERVICE [flags]\n\nservices:")
	for _, c := range commands {
		fmt.Fprintf(os.Stderr, "  %-19s %s\n", c.Name, c.Purpose)
	}
}
