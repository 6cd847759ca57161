package disk

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// repair deals with a data partition that is there and not mounted: PID 1 found
// errors in it, or it came late. It runs "e2fsck -p", as other systems do at
// every boot: that replays the journal and corrects what has only one right
// answer. Anything else is left to its owner.
func (s *Service) repair(ctx context.Context, node string, w wishes) error {
	d, err := s.block(node)
	if err != nil {
		s.Log.Printf("the data partition %s is left alone: %v", node, err)
		return nil
	}
	f, err := s.open(d, os.O_RDONLY)
	if err != nil {
		s.Log.Printf("the data partition %s is left alone: %v", node, err)
		return nil
	}
	f.Close()
	if w.repair {
		sound, err := s.check(ctx, node)
		if err != nil || !sound {
			return err
		}
	}
	err = s.move(ctx, node)
	if err != nil && !w.repair {
		// Nothing here changes what is wrong with it.
		s.Log.Printf("the data partition %s is not used: %v", node, err)
		return nil
	}
	return err
}

// check runs e2fsck and reports whether the file system is sound afterwards.
func (s *Service) check(ctx context.Context, node string) (bool, error) {
	_, said, code, err := run(ctx, e2fsck, "-p", s.host(node))
	said = oneLine(strings.ReplaceAll(said, s.host(node), node))
	switch {
	case err != nil:
		return false, fmt.Errorf("check the data partition %s: %w", node, err)
	case code == 0:
		return true, nil
	case code&^3 == 0: // corrected; the request to reboot is for a mounted root
		s.Log.Printf("the data partition %s was repaired: %s", node, said)
		return true, nil
	}
	s.Log.Printf("the data partition %s cannot be repaired automatically, and the node stays in memory: e2fsck -p ended with %d and printed: %s; "+
		"it made no correction that needs a decision of yours: copy the partition, repair it with \"e2fsck -f %s\" from another system or a privileged pod, and restart", node, code, said, node)
	return false, nil
}
