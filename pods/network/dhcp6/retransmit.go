package dhcp6

import (
	"math/rand/v2"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"kios/pods/network/lease"
)

// slowest is how far repetitions slow down unless a server says otherwise; the
// package's documentation has the reason.
const slowest = 2 * time.Minute

// pace is how a state repeats its message: the first time after irt, then after
// twice as long each time up to mrt (RFC 8415, sections 7.6 and 15).
type pace struct {
	irt, mrt time.Duration // mrt 0: no limit
}

func (m *Machine) pace() pace {
	return map[State]pace{
		Confirming: {time.Second, 4 * time.Second},
		Soliciting: {time.Second, limit(m.solMaxRT)},
		Requesting: {time.Second, 30 * time.Second},
		Renewing:   {10 * time.Second, 10 * time.Minute},
		Rebinding:  {10 * time.Second, 10 * time.Minute},
		Declining:  {time.Second, 0},
		Informing:  {time.Second, limit(m.infMaxRT)},
	}[m.State()]
}

func limit(fromServer time.Duration) time.Duration {
	if fromServer == 0 {
		return slowest
	}
	return fromServer
}

// wait returns for how long to wait for an answer to the message that is sent
// now.
func (m *Machine) wait(now time.Duration) time.Duration {
	p, end := m.pace(), m.end()
	if m.Tries() == 0 {
		// A lease of seconds leaves no room for ten of them.
		m.rt = min(p.irt, max(time.Second, (end-now)/4))
	} else {
		m.rt *= 2
	}
	if p.mrt > 0 {
		m.rt = min(m.rt, p.mrt)
	}
	deviation := m.Deviation()
	if m.State() == Soliciting && m.Tries() == 0 && deviation < 0 {
		deviation = -deviation // a whole second for offers with a preference
	}
	m.rt += time.Duration(deviation * float64(m.rt))
	return min(m.rt, end-now)
}

// end returns when the state is to be left if nobody answers.
func (m *Machine) end() time.Duration {
	switch m.State() {
	case Confirming:
		return m.began + confirmFor
	case Renewing:
		return m.Lease().Rebind
	case Rebinding:
		return m.Lease().Expiry
	}
	return lease.Forever
}

// begin prepares an exchange of messages.
func (m *Machine) begin(time.Duration) {
	if m.State() == Soliciting {
		m.offer = nil
	}
	random := rand.Uint32()
	m.xid = dhcpv6.TransactionID{byte(random >> 16), byte(random >> 8), byte(random)}
}

// send sends the message of the state.
func (m *Machine) send(now time.Duration) {
	if m.Tries() == 0 {
		m.began = now
	} else if m.State() == m.start() {
		m.Complain("DHCPv6", now-m.began)
	}
	m.outside.Send(m.message(now))
}
