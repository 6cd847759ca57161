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
	flags.StringVar(&s.StateDir, "state", "/run/kios/network", "keep leases, and what the network offers, in `DIR`")
	flags.StringVar(&s.ResolvConf, "resolv-conf", "/etc/resolv.conf", "write name servers to `FILE`")
	flags.StringVar(&s.HostnameFile, "hostname", "/etc/hostname", "use no name from the network if `FILE` has one")
	flags.StringVar(&s.MachineID, "machine-id", "/etc/machine-id", "make DHCPv6's name for the machine from `FILE`")
	flags.StringVar(&s.Control, "control", control.Path, "the `SOCKET` of PID 1")
	flags.StringVar(&s.ProcSysNet, "proc-sys-net", "/proc/sys/net", "`DIR` where the kernel's network settings can be written")
	flags.StringVar(&s.Sysfs, "sysfs", "/sys", "`DIR` where sysfs is mounted")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = log
		return s.Run(ctx)
	}
}
