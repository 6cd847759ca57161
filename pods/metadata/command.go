package metadata

import (
	"context"
	"flag"
	"log"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kios/pods/console"
	"kios/pods/privilege"
	"kios/pods/service"
)

// Command is the subcommand of /system that the pod runs.
var Command = service.Command{Name: "metadata", Once: true, Purpose: "make the node's files of what a cloud has for this machine", Flags: declareFlags}

func declareFlags(flags *flag.FlagSet) func(context.Context, *log.Logger) error {
	s := &Service{}
	flags.StringVar(&s.Root, "root", "/", "`DIR` where the node's directories are mounted")
	return func(ctx context.Context, log *log.Logger) error {
		s.Log = redacted(log)
		var err error
		if s.Console, err = console.Open(filepath.Join(s.Root, "dev/kmsg"), "metadata"); err != nil {
			log.Printf("mistakes are in this log only, and not on the console: %v", err)
		}
		err = privilege.Keep(
			unix.CAP_SYS_ADMIN,        // mount disks; device mapper
			unix.CAP_NET_BIND_SERVICE, // Scaleway answers only to such ports
		)
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
}

// redacted is a log that tells no secrets of known forms, whatever others say of them.
func redacted(l *log.Logger) *log.Logger { return log.New(console.Redacted(l.Writer()), "", 0) }
