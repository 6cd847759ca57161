package chrony

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// sampleInterval is how often the hypervisor's clock is read: at least once for
// each time that chronyd looks at it, every four seconds. It wants to see three
// readings before it believes one.
const sampleInterval = 3 * time.Second

// hostClock is the hypervisor's clock.
type hostClock interface {
	Offset() (ahead time.Duration, at time.Time, err error)
}

// feed gives chronyd readings of the clock until ctx ends. It logs the first of
// several failures in a row.
func (s *Service) feed(ctx context.Context, clock hostClock) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	logged := false
	for {
		err := s.feedOnce(clock)
		// Without a socket, chronyd is still starting.
		if err != nil && !logged && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			s.Log.Printf("the hypervisor's clock is not used: %v", err)
			logged = true
		}
		if err == nil {
			logged = false
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Service) feedOnce(clock hostClock) error {
	ahead, at, err := clock.Offset()
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.clockSocket(), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(sample(ahead, at))
	return err
}

// sample is a reading as chronyd takes it ("SOCK" in chrony.conf(5), struct
// sock_sample in refclock_sock.c): when, by the system's clock, and by how much
// the true time is ahead of that.
func sample(ahead time.Duration, at time.Time) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, struct {
		Sec, Usec   int64
		Offset      float64
		Pulse, Leap int32
		_           int32
		Magic       int32
	}{
		// The microseconds are whole: the offset takes what they lose.
		Sec: at.Unix(), Usec: int64(at.Nanosecond() / 1000),
		Offset: (ahead + time.Duration(at.Nanosecond()%1000)).Seconds(),
		Magic:  0x534f434b,
	})
	return b.Bytes()
}
