package aws

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"kios/internal/control"
	"kios/pods/metadata/want"
)

// Paths are the files of the node that Run writes to or asks at. Empty ones are those of
// a node.
type Paths struct {
	Token      string // TokenFile
	Sys        string // sysfs, writable
	ProcSysNet string // /proc/sys/net, writable
	PowerOff   string // PID 1's socket
}

// Run does what a node on EC2 needs until ctx ends: it gives the disks of EC2 their
// timeout, reserves ports, ends the node in time if EC2 takes it back, and, for a node of
// an EKS cluster (nil for none), keeps the token fresh. Call it when all else of the node
// is written: the kubelet joins when the token is there. Registries get their credentials
// from Credentials.
func (c *Cloud) Run(ctx context.Context, e *want.EKS, p Paths) error {
	if err := reservePorts(cmp.Or(p.ProcSysNet, "/proc/sys/net")); err != nil {
		c.log.Print(err)
	}
	var all errgroup.Group
	for _, part := range []func() error{
		func() error { return c.watchEBS(ctx, cmp.Or(p.Sys, "/sys")) },
		func() error { return c.watchSpot(ctx, cmp.Or(p.PowerOff, control.PowerOff)) },
		func() error {
			if e == nil {
				return nil
			}
			return c.keepToken(ctx, e.Cluster, cmp.Or(p.Token, TokenFile))
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
