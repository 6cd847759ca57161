package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"kios/internal/control"
	"kios/pods/network"
)

func runNetwork(ctx context.Context, args []string, logger *log.Logger) error {
	s := &network.Service{Log: logger}
	flags := flag.NewFlagSet("network", flag.ExitOnError)
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
	_ = flags.Parse(args) // it exits
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s.Run(ctx)
}
