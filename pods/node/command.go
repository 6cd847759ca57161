package node

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"

	"kios/internal/logfile"
	"kios/pods/service"
)

// Command is the subcommand of /system that the pod runs.
var Command = service.Command{Name: "logs", Purpose: "print a log of the node and follow it", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	path := flags.String("file", "", "print what this boot has written to the log `FILE`, and to its older parts FILE.1 and so on, and follow it")
	return func(ctx context.Context, _ *log.Logger) error {
		if *path == "" {
			return errors.New("name a log with -file")
		}
		boot, err := logfile.BootID()
		if err != nil {
			return err
		}
		t := &Tail{Path: *path, Boot: boot, Out: os.Stdout}
		return t.Run(ctx)
	}
}
