package boot

import (
	"time"

	"kios/internal/boottime"
	"kios/internal/ptp"

	"golang.org/x/sys/unix"
)

// setClock sets a clock that is before the build of the kernel to the time of that
// build: no certificate is valid in 1970. The pod time finds the real time later.
func (n *Node) setClock() error {
	built, err := boottime.Built()
	if err != nil || !time.Now().Before(built) {
		return err
	}
	n.Log.Warn("the clock says %s, which is before this system was built: it is set to %s",
		time.Now().UTC().Format(time.DateOnly), built.Format(time.DateTime))
	ts := unix.NsecToTimespec(built.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// shareClock lets the pod time read the hypervisor's clock, if there is one. A
// container that is not privileged could not open it.
func (n *Node) shareClock() error {
	device, name, err := ptp.Find("/sys")
	if err != nil || device == "" {
		return err
	}
	server, err := ptp.Listen(ptp.Socket, device, name)
	if err != nil {
		return err
	}
	n.spawn("host clock", func() { server.Run(n.Log.Error) })
	return nil
}
