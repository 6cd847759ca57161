package modules

import (
	"context"
	"flag"
	"log"
	"path/filepath"

	"kios/internal/modprobe"
	"kios/pods/service"
)

// Command is the subcommand of /system that the pod runs.
var Command = service.Command{Name: "modules", Purpose: "load drivers for the hardware, and the modules that /etc/kios/modules.yaml names", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	s := &Service{}
	flags.StringVar(&s.File, "file", "/etc/kios/modules.yaml", "read the user's settings from `FILE`")
	flags.StringVar(&s.Sysfs, "sysfs", "/sys", "`DIR` where sysfs is mounted")
	trees := flags.String("modules", "/lib/modules", "`DIR` with one directory of modules for each kernel")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = log
		release, err := modprobe.Release()
		if err != nil {
			return err
		}
		s.Modules = filepath.Join(*trees, release)
		return s.Run(ctx)
	}
}
