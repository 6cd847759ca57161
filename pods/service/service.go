// Package service is what the services of the system pods have in common: each is
// a subcommand of one program, whose main function is in pods/system.
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
	// Flags declares the subcommand's flags, and returns what runs after they have
	// been read. That serves until ctx ends, and its lines for people go to log.
	Flags func(flags *flag.FlagSet) (run func(ctx context.Context, log *log.Logger) error)
}
