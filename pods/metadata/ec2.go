package metadata

import (
	"context"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"kios/internal/control"
	"kios/internal/credprovider"
	"kios/pods/metadata/aws"
	"kios/pods/metadata/eks"
)

// stayOnEC2 does what a node there needs for as long as it runs.
func (r *reading) stayOnEC2(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		return r.ec2.Run(ctx, r.node.EKS, aws.Paths{
			Token:    filepath.Join(r.Root, eks.TokenFile),
			PowerOff: filepath.Join(r.Root, control.PowerOff),
		})
	})
	work.Go(func() error {
		socket := filepath.Join(r.Root, credprovider.Socket(eks.ProviderName))
		return credprovider.Serve(ctx, socket, func(ctx context.Context, _ []string, request []byte) ([]byte, error) {
			return r.ec2.Credentials(ctx, request)
		})
	})
	return work.Wait()
}
