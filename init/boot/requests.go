package boot

import (
	"errors"
	"fmt"
	"path/filepath"

	"kios/init/systembus"
	"kios/internal/control"
	"kios/internal/rfc1123"
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

// listenControl lets pods ask for what only PID 1 can do. An error of the second
// kind ends the node: a move that got stuck halfway.
func (n *Node) listenControl() error { return n.listenBelow("/") }

// listenBelow does so with the sockets in another root.
func (n *Node) listenBelow(root string) error {
	return errors.Join(
		n.listenFor(filepath.Join(root, control.Hostname), func(name string) (refusal, failure error) { return n.offerHostname(name), nil }),
		n.listenFor(filepath.Join(root, control.DataPartition), n.moveToData),
		n.listenFor(filepath.Join(root, control.OtherMachine), func(who string) (refusal, failure error) { return n.forgetOther(root, who), nil }),
		n.listen(filepath.Join(root, control.PowerOff), n.powerOffFor))
}

// powerOffFor stops the node as its power button does. It is no work, and waits for none.
func (n *Node) powerOffFor(why string) error {
	if err := checkWord(why); err != nil {
		return err
	}
	n.stopFor(systembus.PowerOff, "a pod ("+why+")")
	return nil
}

// checkWord refuses what the console is not to repeat.
func checkWord(why string) error {
	if !rfc1123.IsLabel(why) {
		return fmt.Errorf("the reason %.40q is no word of small letters, digits and hyphens", why)
	}
	return nil
}

// listenFor serves one kind of request. What it asks for is done as work.
func (n *Node) listenFor(socket string, do func(value string) (refusal, failure error)) error {
	return n.listen(socket, func(value string) error {
		return n.serialize(func() (refusal, failure error) { return do(value) })
	})
}

// listen serves one kind of request.
func (n *Node) listen(socket string, do func(value string) error) error {
	server, err := control.Listen(socket, do)
	if err != nil {
		return err
	}
	n.spawn(socket, func() { server.Run(n.Log.Error) })
	return nil
}
