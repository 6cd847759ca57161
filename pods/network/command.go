package network

import (
	"context"
	"flag"
	"log"

	"kios/internal/control"
	"kios/pods/service"
)

// Command is the subcommand.
var Command = service.Command{Name: "network", Purpose: "bring up Ethernet interfaces and configure them", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	s := &Service{}
	flags.Func("interface", "configure the interface `NAME` instead of each physical one (can be repeated)", func(name string) error {
		s.Interfaces = append(s.Interfaces, name)
		return nil
	})
	flags.StringVar(&s.File, "config", "/etc/kios/network.yaml", "read the user's configuration from `FILE`")
	flags.StringVar(&s.StateDir, "state", "/run/kios/network", "keep leases, resolv.conf and what else the network offers in `DIR`")
	flags.StringVar(&s.LastDir, "last", "/var/lib/kios/network", "keep copies of resolv.conf and of the configuration for the next boot in `DIR`")
	flags.StringVar(&s.MachineID, "machine-id", "/etc/machine-id", "make DHCPv6's name for the machine from `FILE`")
	flags.StringVar(&s.Control, "control", control.Hostname, "tell PID 1 an offered name on `SOCKET`")
	flags.StringVar(&s.ProcSysNet, "proc-sys-net", "/proc/sys/net", "`DIR` where the kernel's network settings can be written")
	flags.StringVar(&s.Sysfs, "sysfs", "/sys", "`DIR` where sysfs is mounted")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = log
		return s.Run(ctx)
	}
}
