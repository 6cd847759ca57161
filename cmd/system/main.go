// Command system is the one program in the image kios.local/system: each of its
// subcommands is a service that runs as PID 1 of a container in a pod of its
// own. They are configured by flags in the pod's manifest and log lines for
// people to standard output.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"kios/internal/network"
)

// service is one subcommand. It runs until ctx ends, which for all of them is
// also a good moment to be killed.
type service struct {
	name, purpose string
	run           func(ctx context.Context, args []string, log *log.Logger) error
}

var services = []service{
	{"network", "bring up Ethernet interfaces and configure them by DHCP", runNetwork},
}

func main() {
	logger := log.New(os.Stdout, "", 0) // the kubelet keeps the time of each line
	s := pick(os.Args[1:])
	if s == nil {
		usage()
		os.Exit(2)
	}
	go exitOnSignal(logger)
	if err := s.run(context.Background(), os.Args[2:], logger); err != nil {
		logger.Printf("%s: %v", s.name, err)
		os.Exit(1)
	}
}

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

// exitOnSignal ends the process at once. It has to be said: the kernel does not
// apply a signal's default action to PID 1.
func exitOnSignal(logger *log.Logger) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	logger.Printf("%s: exiting, the configuration stays", <-signals)
	os.Exit(0)
}

func runNetwork(ctx context.Context, args []string, logger *log.Logger) error {
	s := &network.Service{Log: logger}
	flags := flag.NewFlagSet("network", flag.ExitOnError)
	flags.Func("interface", "configure the interface `NAME` instead of each physical one (can be repeated)", func(name string) error {
		s.Interfaces = append(s.Interfaces, name)
		return nil
	})
	flags.StringVar(&s.StateDir, "state", "/run/kios/network", "keep leases in `DIR`")
	flags.StringVar(&s.ResolvConf, "resolv-conf", "/etc/resolv.conf", "write name servers to `FILE`")
	flags.StringVar(&s.ProcSysNet, "proc-sys-net", "/proc/sys/net", "`DIR` where the kernel's network settings can be written")
	flags.StringVar(&s.Sysfs, "sysfs", "/sys", "`DIR` where sysfs is mounted")
	_ = flags.Parse(args) // it exits
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s.Run(ctx)
}
