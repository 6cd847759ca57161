// Package service defines what the services of the system pods have in common:
// each is a subcommand of one program, pods/system. It leaves out how services are
// started and stopped; the main function there does that.
package service

import (
	"context"
	"flag"
	"log"
)

// Command is a service as a subcommand.
type Command struct {
	Name    string
	Purpose string // in a few words, for the list of subcommands
	// Once is set for work that has an end, in a pod with restartPolicy OnFailure. One that
	// is stopped before has failed: the kubelet would not run it again at the next boot.
	Once bool
	// Args says which arguments may follow the flags, "" for none. The run function finds
	// them in the flag set.
	Args string
	// Flags declares the subcommand's flags and returns its run function, which is
	// called after they have been parsed. run serves until ctx ends, or until its
	// work is done, and logs to log.
	Flags func(flags *flag.FlagSet) (run func(ctx context.Context, log *log.Logger) error)
}
