package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"path/filepath"

	"kios/internal/modprobe"
	"kios/pods/modules"
)

func runModules(ctx context.Context, args []string, logger *log.Logger) error {
	s := &modules.Service{Log: logger}
	flags := flag.NewFlagSet("modules", flag.ExitOnError)
	flags.StringVar(&s.File, "file", "/etc/kios/modules.yaml", "read what the user wants from `FILE`")
	flags.StringVar(&s.Sysfs, "sysfs", "/sys", "`DIR` where sysfs is mounted")
	trees := flags.String("modules", "/lib/modules", "`DIR` with a directory of modules for each kernel")
	_ = flags.Parse(args) // it exits
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	release, err := modprobe.Release()
	if err != nil {
		return err
	}
	s.Modules = filepath.Join(*trees, release)
	return s.Run(ctx)
}
