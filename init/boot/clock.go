package boot

import (
	"strings"
	"time"

	"kios/internal/ptp"

	"golang.org/x/sys/unix"
)

// setClock sets a clock that is before the build of the kernel to the time of that
// build: no certificate is valid in 1970. The pod time finds the real time later.
func (n *Node) setClock() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	built, err := buildTime(unix.ByteSliceToString(uts.Version[:]))
	if err != nil || !time.Now().Before(built) {
		return err
	}
	n.Log.Warn("the clock says %s, which is before this system was built: it is set to %s",
		time.Now().UTC().Format(time.DateOnly), built.Format(time.DateTime))
	ts := unix.NsecToTimespec(built.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// buildTime reads the date out of the kernel's version, such as
// "#1 SMP Thu Jan  1 00:00:00 UTC 2026".
func buildTime(version string) (time.Time, error) {
	words := strings.Fields(version)
	date := strings.Join(words[max(0, len(words)-6):], " ")
	return time.Parse("Mon Jan 2 15:04:05 MST 2006", date)
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
