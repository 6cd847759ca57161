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

// Command is the subcommand.
var Command = service.Command{Name: "logs", Purpose: "print a log of the node and follow it", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	path := flags.String("file", "", "print and follow the log `FILE` of this boot, and its older parts FILE.1 and so on")
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
