package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kios/host/console"
	"kios/host/qemu"
)

// stopBound leaves pods their grace, and an emulated machine its time.
const stopBound = 4 * time.Minute

// Down stops the machines by their power buttons, the workers first, so that
// they can say good-bye to the API server. What does not end within its bound,
// or when the context ends, is killed.
func (c *Cluster) Down(ctx context.Context, o Observer) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var workers sync.WaitGroup
	errs := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		if !n.controlPlane() {
			workers.Go(func() { errs[i] = c.stop(ctx, n.Name, o) })
		}
	}
	workers.Wait()
	errs[0] = c.stop(ctx, ControlPlane, o)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.stopSwitch()
}

// stop stops one machine if it runs.
func (c *Cluster) stop(ctx context.Context, node string, o Observer) error {
	m, err := c.Machine(node)
	if errors.Is(err, qemu.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, stopBound)
	defer cancel()
	followed := c.follow(ctx, node, o)
	o.State(node, "stopping")
	err = m.PowerOff(ctx)
	cancel()
	<-followed
	if err == nil {
		o.State(node, "off")
		o.Note("node %s is off", node)
		return nil
	}
	o.Note("node %s: %v; its power is cut", node, err)
	o.State(node, "off (cut)")
	return m.Kill()
}

// follow shows a console's lines from now on; the channel is closed at the end.
func (c *Cluster) follow(ctx context.Context, node string, o Observer) <-chan struct{} {
	done := make(chan struct{})
	log := c.ConsoleLog(node)
	from := size(log)
	go func() {
		defer close(done)
		Follow(ctx, log, from, func(line string) { o.Console(node, console.Parse(line)) })
	}()
	return done
}

func (c *Cluster) stopSwitch() error {
	s, err := c.Switch()
	if errors.Is(err, qemu.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Kill()
}

// Purge removes a stopped cluster with all that it keeps, and nothing else.
func (c *Cluster) Purge() error {
	if err := c.CheckOwn(); err != nil { // before the lock is made there
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if running := c.Running(); len(running) > 0 {
		return fmt.Errorf("remove cluster %s: %s is still running", c.Name, running[0])
	}
	return c.removeOwn()
}
