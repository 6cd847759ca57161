package diskimage

import (
	"context"
	"fmt"

	"kios/host/hosttool"
)

// ReadEtc copies what a raw disk that Create made has for the node's /etc into the directory
// dir, as dir/etc. The node must be off.
func ReadEtc(ctx context.Context, disk, dir string) error {
	_, err := hosttool.Run(ctx, "debugfs", "-R", fmt.Sprintf(`rdump /meta/etc "%s"`, dir), fmt.Sprintf("%s?offset=%d", disk, dataStart))
	return err
}
