package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"kios/internal/control"
	"kios/pods/disk"
)

func runDisk(ctx context.Context, args []string, logger *log.Logger) error {
	s := &disk.Service{Log: logger}
	flags := flag.NewFlagSet("disk", flag.ExitOnError)
	flags.StringVar(&s.Dev, "dev", "/dev", "`DIR` where the node's /dev is")
	flags.StringVar(&s.Sys, "sys", "/sys", "`DIR` where sysfs is mounted")
	flags.StringVar(&s.Data, "data", "/var/meta", "`DIR` that is on the data partition if that is mounted")
	flags.StringVar(&s.Settings, "settings", "/etc/kios/disk.yaml", "read what the user wants from `FILE`")
	flags.StringVar(&s.Cmdline, "cmdline", "/proc/cmdline", "`FILE` with the kernel command line")
	flags.StringVar(&s.Control, "control", control.Path, "`SOCKET` of PID 1")
	_ = flags.Parse(args) // it exits
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err := disk.DropPrivilege(); err != nil {
		return err
	}
	return s.Run(ctx)
}
