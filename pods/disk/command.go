package disk

import (
	"context"
	"flag"
	"log"

	"kios/internal/control"
	"kios/pods/privilege"
	"kios/pods/service"

	"golang.org/x/sys/unix"
)

// Command is the subcommand of /system that the pod runs.
var Command = service.Command{Name: "disk", Once: true, Purpose: "grow, repair or make the data partition", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	s := &Service{}
	flags.StringVar(&s.Dev, "dev", "/dev", "`DIR` with the node's /dev")
	flags.StringVar(&s.Sys, "sys", "/sys", "`DIR` where sysfs is mounted")
	flags.StringVar(&s.Data, "data", "/var/meta", "`DIR` on the data partition, if one is mounted")
	flags.StringVar(&s.Settings, "settings", "/etc/kios/disk.yaml", "read the user's settings from `FILE`")
	flags.StringVar(&s.Cmdline, "cmdline", "/proc/cmdline", "`FILE` with the kernel command line")
	flags.StringVar(&s.Boot, "boot", "/run/kios/boot-partition", "`FILE` that says from which partition the machine booted")
	flags.StringVar(&s.Control, "control", control.DataPartition, "send requests to PID 1 on `SOCKET`")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = log
		if err := keepPrivileges(); err != nil {
			return err
		}
		return s.Run(ctx)
	}
}

// keepPrivileges gives up all that the privileged container has but what the service uses.
func keepPrivileges() error {
	return privilege.Keep(
		unix.CAP_SYS_ADMIN,    // BLKPG: tell the kernel of partitions; device mapper
		unix.CAP_SYS_RESOURCE, // grow a mounted ext4
	)
}
