package ndisc

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/internal/ratelimit"
	"kios/pods/network/lease"
)

// settle is for how long the messages of one advertisement are waited for:
// flags and options come as a message each, a few microseconds apart.
const settle = 10 * time.Millisecond

// Watch sends the state of an interface each time it changes: flags, entries
// that are new or repeated (their expiry is later then), and entries that
// expired. What changes all the time is sent once in a second. First come the
// interfaces about which something is known already; an interface that went down or
// away has an event without anything in it.
//
// The kernel keeps addresses and routes over a restart of this program, but neither
// servers nor domains: known are the latest events of before.
//
// Call it before interfaces are brought up and the advertisements that follow
// are all heard. The channel is closed when ctx ends, or earlier if the kernel
// cannot be listened to any more. A reader may be slow: what the kernel could
// not deliver meanwhile is asked for again.
//
// A large buffer takes CAP_NET_ADMIN, and solicitations take CAP_NET_RAW. Without the
// latter Watch still works, but may learn about name servers only when a router
// repeats itself.
func Watch(ctx context.Context, known ...Event) (<-chan Event, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFINFO, unix.RTNLGRP_ND_USEROPT)
	if err != nil {
		return nil, fmt.Errorf("subscribe to router advertisements: %w", err)
	}
	// Room for a machine that starts a hundred pods at once, which is more than
	// net.core.rmem_max allows by itself. A smaller buffer works, too: see resync.
	_ = socket.SetReceiveBufferSize(1<<20, true)
	w := newWatcher(make(chan Event))
	w.socket = socket
	w.table.solicit = Solicit
	w.table.known = map[int]Event{}
	for _, e := range known {
		w.table.known[e.Index] = e
	}
	if err := w.resync(); err != nil {
		socket.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, socket.Close)
	go func() {
		defer close(w.events)
		defer stop()
		defer socket.Close()
		w.run(ctx)
	}()
	return w.events, nil
}

type watcher struct {
	table  table
	socket *nl.NetlinkSocket
	events chan Event
	dump   uint32          // sequence number of the dump that is under way, or 0
	again  bool            // messages were lost since it began
	flush  time.Duration   // when changes are to be sent
	pace   ratelimit.Limit // of sending them
}

// newWatcher returns one that sends some changes at once, as a boot takes, and then one
// in a second: a router can change its mind many times in that, and a reader writes
// files then.
func newWatcher(events chan Event) *watcher {
	return &watcher{events: events, flush: lease.Forever, pace: ratelimit.Limit{Every: time.Second, Burst: 20}}
}

func (w *watcher) run(ctx context.Context) {
	for {
		messages, err := w.receive(min(w.table.wake(), w.flush))
		now := boottime.Now()
		if errors.Is(err, unix.ENOBUFS) {
			err = w.resync()
		}
		if err != nil {
			return
		}
		for _, m := range messages {
			if err := w.take(m, now); err != nil {
				return
			}
		}
		w.table.tick(now)
		if !w.send(ctx, now) {
			return
		}
	}
}

// receive returns the next messages, or none at the time until or earlier.
func (w *watcher) receive(until time.Duration) ([]syscall.NetlinkMessage, error) {
	var limit unix.Timeval // zero: none
	if until != lease.Forever {
		limit = unix.NsecToTimeval(max(time.Microsecond, lease.Sleep(boottime.Now(), until)).Nanoseconds())
	}
	if err := w.socket.SetReceiveTimeout(&limit); err != nil {
		return nil, err
	}
	messages, from, err := w.socket.Receive()
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if from.Pid != 0 {
		return nil, nil // not from the kernel
	}
	return messages, nil
}

// resync asks for the state of all interfaces: at the start, and when messages
// were lost. The answer comes as messages between all others.
func (w *watcher) resync() error {
	if w.dump != 0 {
		w.again = true // one at a time
		return nil
	}
	r := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	r.AddData(nl.NewIfInfomsg(unix.AF_INET6))
	if err := w.socket.Send(r); err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	w.dump, w.again = r.Seq, false
	w.table.begin()
	return nil
}

func (w *watcher) take(m syscall.NetlinkMessage, now time.Duration) error {
	dumped := w.dump != 0 && m.Header.Seq == w.dump
	if dumped && m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
		w.again = true
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := parseLink(m); ok {
			w.table.link(l, now)
		}
	case unix.RTM_NEWNDUSEROPT:
		if o, ok := parseOption(m.Data); ok {
			w.table.option(o, now)
		}
	case unix.NLMSG_DONE, unix.NLMSG_ERROR:
		if dumped {
			w.dump = 0
			w.table.end(now)
			if w.again {
				return w.resync()
			}
		}
	}
	return nil
}

// send sends what changed, once the messages of one advertisement have arrived.
// It reports whether ctx goes on.
func (w *watcher) send(ctx context.Context, now time.Duration) bool {
	if w.flush == lease.Forever && w.table.changed() {
		w.flush = now + settle
	}
	if now < w.flush {
		return true
	}
	if wait := w.pace.Wait(now); wait > 0 {
		w.flush = now + wait
		return true
	}
	w.flush = lease.Forever
	for _, e := range w.table.take() {
		select {
		case w.events <- e:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
