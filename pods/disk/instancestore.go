package disk

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"kios/internal/datapart"
)

// Instances of EC2 may have disks of their own, which end with them: the instance store.
// User data may ask for them. The pod "metadata" has these only when the network is up, and
// then writes them into the settings, which needs no privilege. So on such a machine
// this service waits for that file.

// requestBound is how long it waits: the metadata are there seconds after the network.
const requestBound = 10 * time.Minute

// name chooses the disk that is taken of this instance's own, unless all are.
func (s *Service) name(w *wishes, own []string) {
	switch {
	case len(own) == 0:
		s.Log.Printf("no data partition is made: device: instance-store takes disks of an instance of EC2, and this machine has none")
	case !w.striped || len(own) == 1:
		w.device = "/dev/" + own[0]
	}
}

// mayBeAsked reports whether this machine has disks that nobody has asked for, but
// somebody may.
func (s *Service) mayBeAsked(w wishes) bool {
	return !w.asked() && len(s.system().InstanceStore()) > 0
}

// useWhenAsked waits until the settings ask for a data partition, and makes it then.
func (s *Service) useWhenAsked(ctx context.Context, events datapart.Events) error {
	s.Log.Printf("there is no data partition, and this instance has disks of its own: if %s asks for them within %v, they are used", s.Settings, s.bound())
	w, err := s.await(ctx)
	if err != nil || !w.asked() {
		return err
	}
	return s.use(ctx, w, events)
}

func (s *Service) bound() time.Duration { return cmp.Or(s.patience, requestBound) }

// await returns what the settings ask for, as soon as they ask for something, or nothing
// when time is up.
func (s *Service) await(ctx context.Context) (wishes, error) {
	const pause = time.Second // far less than what the node's move takes
	var last os.FileInfo
	for deadline := time.Now().Add(s.bound()); time.Now().Before(deadline); {
		info, err := os.Stat(s.Settings)
		if err == nil && !sameFile(info, last) {
			last = info
			if w := s.wishes(); w.asked() {
				return w, nil
			}
		}
		select {
		case <-ctx.Done():
			return wishes{}, ctx.Err()
		case <-time.After(min(pause, s.bound()/10)):
		}
	}
	s.Log.Printf("nothing has asked for the disks of this instance: they are left alone")
	return wishes{}, nil
}

// sameFile reports whether a file is what it was: others are written whole, as new ones.
func sameFile(now, before os.FileInfo) bool {
	return before != nil && os.SameFile(now, before) && now.ModTime().Equal(before.ModTime()) && now.Size() == before.Size()
}

// stay tells whoever asks for the disks of this instance that a node does not leave the
// data partition that it has.
func (s *Service) stay(ctx context.Context, w wishes, d *device) error {
	if slices.Contains(s.system().InstanceStore(), d.disk) || d.name == s.system().Stripes() {
		return nil
	}
	if s.mayBeAsked(w) {
		var err error
		if w, err = s.await(ctx); err != nil {
			return err
		}
	}
	if w.instanceStore {
		s.Log.Printf("device: instance-store is not followed: the node has the data partition %s, and stays there; only a node without one takes the disks of its instance", d.node())
	}
	return nil
}
