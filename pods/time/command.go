package chrony

import (
	"context"
	"flag"
	"log"

	"kios/internal/ptp"
	"kios/pods/service"
)

// Command is the subcommand of /system that the pod runs.
var Command = service.Command{Name: "time", Purpose: "keep the clock with chrony", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	s := &Service{}
	flags.StringVar(&s.Etc, "etc", "/etc", "`DIR` with kios/time.yaml, resolv.conf and ssl/certs")
	flags.StringVar(&s.NetworkDir, "network", "/run/kios/network", "`DIR` with the files ntp, the time servers from DHCP, and resolv.conf")
	flags.StringVar(&s.StateDir, "state", "/var/lib/kios/time", "keep the state that outlives a boot in `DIR`")
	flags.StringVar(&s.RunDir, "run", "/run", "keep the state of this boot in `DIR`")
	flags.StringVar(&s.ResolvConf, "resolv-conf", "", "keep `FILE` the same as resolv.conf in -etc")
	flags.StringVar(&s.ClockSocket, "clock", ptp.Socket, "get the hypervisor's clock from the socket `FILE`")
	flags.StringVar(&s.Chronyd, "chronyd", "/usr/sbin/chronyd", "run `FILE` as chronyd")
	flags.StringVar(&s.Chronyc, "chronyc", "/usr/bin/chronyc", "run `FILE` as chronyc")
	flags.BoolVar(&s.Observe, "observe", false, "report how wrong the clock is, but never set it")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = log
		return s.Run(ctx)
	}
}
