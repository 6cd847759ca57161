package boot

import (
	"errors"
	"fmt"
	"os"

	"kios/internal/ext4"

	"golang.org/x/sys/unix"
)

// demandSound refuses an ext4 file system that says of itself that it has
// errors: they would grow with each write. Everything else about it is for the
// kernel to judge; an unclean one with a journal, as a power cut leaves it, is
// sound once the kernel has replayed that.
func demandSound(device string) error {
	// Neither a link nor a FIFO that somebody has put there.
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sb, err := ext4.Read(f, 0)
	switch {
	case errors.Is(err, ext4.ErrNone):
		return nil // mounting it will say more
	case err != nil:
		return fmt.Errorf("read %s: %w", device, err)
	case !sb.Sound:
		return fmt.Errorf("the file system of the data partition %s has errors and was left untouched: the pod disk repairs it if that is safe, and the node moves onto it then", device)
	}
	return nil
}
