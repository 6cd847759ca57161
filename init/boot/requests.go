package boot

import (
	"fmt"

	"kios/internal/control"
)

// task is work that somebody asks for while the node is up, and where the refusal
// goes. A failure ends the node.
type task struct {
	do      func() (refusal, failure error)
	refused chan error
}

func (t task) run() error {
	refusal, failure := t.do()
	t.refused <- refusal
	return failure
}

// serialize has something done as work, one thing after another: while that stops
// and starts daemons, nobody else may. It returns the refusal.
func (n *Node) serialize(do func() (refusal, failure error)) error {
	t := task{do, make(chan error, 1)}
	select {
	case n.inbox.tasks <- t:
		return <-t.refused
	case <-n.stopping.done():
		return errStopping
	}
}

// listenControl lets pods ask for what only PID 1 can do.
func (n *Node) listenControl() error {
	server, err := control.Listen(control.Path, func(r control.Request) error {
		return n.serialize(func() (refusal, failure error) { return n.fulfil(r) })
	})
	if err != nil {
		return err
	}
	n.spawn("control", func() { server.Run(n.Log.Error) })
	return nil
}

// fulfil carries a request of a pod out. It is work. The second error ends the node:
// a move that got stuck halfway.
func (n *Node) fulfil(r control.Request) (refusal, failure error) {
	switch r := r.(type) {
	case control.Hostname:
		return n.offerHostname(r.Name), nil
	case control.DataPartition:
		return n.moveToData(r.Device)
	}
	return fmt.Errorf("%T is no request", r), nil
}
