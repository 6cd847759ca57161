package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"kios/internal/ptp"
	"kios/pods/time"
)

func runTime(ctx context.Context, args []string, logger *log.Logger) error {
	s := &chrony.Service{Log: logger}
	flags := flag.NewFlagSet("time", flag.ExitOnError)
	flags.StringVar(&s.Etc, "etc", "/etc", "`DIR` with kios/time.yaml, resolv.conf and ssl/certs")
	flags.StringVar(&s.NetworkDir, "network", "/run/kios/network", "`DIR` with the file ntp, the time servers from DHCP")
	flags.StringVar(&s.StateDir, "state", "/var/lib/kios/time", "keep what outlives a boot in `DIR`")
	flags.StringVar(&s.RunDir, "run", "/run", "keep what does not in `DIR`")
	flags.StringVar(&s.ResolvConf, "resolv-conf", "", "keep this `FILE` like resolv.conf in -etc")
	flags.StringVar(&s.ClockSocket, "clock", ptp.Socket, "get the hypervisor's clock from the socket `FILE`")
	flags.StringVar(&s.Chronyd, "chronyd", "/usr/sbin/chronyd", "`FILE` of chronyd")
	flags.StringVar(&s.Chronyc, "chronyc", "/usr/bin/chronyc", "`FILE` of chronyc")
	flags.BoolVar(&s.Observe, "observe", false, "only tell how wrong the clock is, and never set it")
	_ = flags.Parse(args) // it exits
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s.Run(ctx)
}
