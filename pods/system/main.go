// Command system is the one program in the image kios.local/system: each of its
// subcommands is a service that runs as PID 1 of a container in a pod of its
// own. They are configured by flags in the pod's manifest and log lines for
// people to standard output.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// service is one subcommand. It runs until ctx ends.
type service struct {
	name, purpose string
	run           func(ctx context.Context, args []string, log *log.Logger) error
}

var services = []service{
	{"disk", "grow, repair or make the data partition", runDisk},
	{"logs", "print a log of the node and follow it", runLogs},
	{"modules", "load the drivers of the hardware, and what /etc/kios/modules.yaml names", runModules},
	{"network", "bring up Ethernet interfaces and configure them", runNetwork},
	{"time", "keep the clock with chrony", runTime},
}

func main() {
	logger := log.New(os.Stdout, "", 0) // the kubelet keeps the time of each line
	s := pick(os.Args[1:])
	if s == nil {
		usage()
		os.Exit(2)
	}
	// The heap of all services is small: 10 % of it is nothing, and Go would let
	// 4 MB of garbage gather first.
	debug.SetGCPercent(10)
	// It has to be said what ends the process: the kernel does not apply a
	// signal's default action to PID 1.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() {
		time.Sleep(stopBound)
		os.Exit(0) // whatever keeps it: what the services set stays
	})
	if err := s.run(ctx, os.Args[2:], logger); err != nil && ctx.Err() == nil {
		logger.Printf("%s: %v", s.name, err)
		os.Exit(1)
	}
}

// stopBound is how long a service may take to end.
const stopBound = 3 * time.Second

func pick(args []string) *service {
	if len(args) == 0 {
		return nil
	}
	for i := range services {
		if services[i].name == args[0] {
			return &services[i]
		}
	}
	return nil
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: system SERVICE [flags]\n\nservices:")
	for _, s := range services {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", s.name, s.purpose)
	}
}
