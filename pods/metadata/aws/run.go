package aws

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"kios/internal/control"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
)

// Paths are the files of the node that Run writes to or asks at. Empty ones are those of
// a node.
type Paths struct {
	Token    string // eks.TokenFile
	Sys      string // sysfs, writable
	PowerOff string // PID 1's socket
}

// Run does what a node on EC2 needs until ctx ends: it gives the disks of EC2 their
// timeout, ends the node in time if EC2 takes it back, and, for a node of an EKS cluster
// (nil for none), keeps the token fresh. Call it when all else of the node is written: the
// kubelet joins when the token is there. Registries get their credentials from Credentials.
func (c *Cloud) Run(ctx context.Context, e *want.EKS, p Paths) error {
	var all errgroup.Group
	for _, part := range []func() error{
		func() error { return c.watchEBS(ctx, cmp.Or(p.Sys, "/sys")) },
		func() error { return c.watchSpot(ctx, cmp.Or(p.PowerOff, control.PowerOff)) },
		func() error {
			if e == nil {
				return nil
			}
			return c.keepToken(ctx, e.Cluster, cmp.Or(p.Token, eks.TokenFile))
		},
	} {
		all.Go(part)
	}
	err := all.Wait()
	<-ctx.Done()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
