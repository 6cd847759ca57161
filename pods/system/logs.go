package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"kios/internal/logfile"
	"kios/pods/node"
)

func runLogs(ctx context.Context, args []string, _ *log.Logger) error {
	flags := flag.NewFlagSet("logs", flag.ExitOnError)
	path := flags.String("file", "", "print and follow the log `FILE` of this boot, and its older parts FILE.1 and so on")
	_ = flags.Parse(args) // it exits
	if *path == "" || flags.NArg() > 0 {
		return fmt.Errorf("give a log with -file, and nothing else")
	}
	boot, err := logfile.BootID()
	if err != nil {
		return err
	}
	t := &node.Tail{Path: *path, Boot: boot, Out: os.Stdout}
	return t.Run(ctx)
}
