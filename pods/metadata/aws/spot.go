package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kios/internal/control"
)

const (
	// spotLook is how often to look for the end of a spot instance, as EC2 advises: the
	// notice comes two minutes before.
	spotLook = 5 * time.Second
	// adviceLook is how often to look for the advice to leave, which is only a line.
	adviceLook = time.Minute
)

// interruption is the notice that EC2 takes a spot instance back
// (spot-instance-termination-notices in EC2's user guide).
type interruption struct {
	Action string // terminate, stop or hibernate
	Time   time.Time
}

// isSpot reports whether EC2 may take the machine back. One that it does not tell of may
// be.
func (c *Cloud) isSpot(ctx context.Context) (spot bool, err error) {
	err = c.again(ctx, never, func() error {
		kind, err := c.Metadata(ctx, "instance-life-cycle")
		spot = kind == "spot" || absent(err)
		if absent(err) {
			return nil
		}
		return err
	})
	return spot, err
}

// watchSpot powers the node off when EC2 takes the machine back, so that its pods end by
// their priorities and with their grace periods as far as two minutes go.
func (c *Cloud) watchSpot(ctx context.Context, powerOff string) error {
	spot, err := c.isSpot(ctx)
	if err != nil || !spot {
		return err
	}
	go c.watchAdvice(ctx)
	said := complaints{log: c.log}
	for look := time.NewTicker(c.look(spotLook)); ; {
		notice, err := c.interruption(ctx)
		if err == nil && notice != nil {
			c.log.Printf("EC2 takes this machine back (%s) at %s: the node powers off now", notice.Action, notice.Time.Format(time.RFC3339))
			err = control.Send(ctx, powerOff, "spot-"+notice.Action)
			if err == nil {
				return nil
			}
		}
		if err != nil && ctx.Err() == nil {
			said.print(err)
		}
		select {
		case <-ctx.Done():
			look.Stop()
			return ctx.Err()
		case <-look.C:
		}
	}
}

// interruption returns nil if there is none.
func (c *Cloud) interruption(ctx context.Context) (*interruption, error) {
	text, err := c.Metadata(ctx, "spot/instance-action")
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var notice interruption
	if err := json.Unmarshal([]byte(text), &notice); err != nil {
		return nil, fmt.Errorf("read spot/instance-action of the metadata service: %w", err)
	}
	switch notice.Action {
	case "terminate", "stop", "hibernate":
		return &notice, nil
	}
	return nil, fmt.Errorf("the metadata service has the unknown spot/instance-action %.80q", notice.Action)
}

// watchAdvice writes a line when EC2 says that the machine is likely to be taken back.
// Who moves pods away then is up to the cluster.
func (c *Cloud) watchAdvice(ctx context.Context) {
	for look := time.NewTicker(c.look(adviceLook)); ; {
		if _, err := c.Metadata(ctx, "events/recommendations/rebalance"); err == nil {
			c.log.Printf("EC2 advises to leave this spot instance, because it is likely to take it back; the node goes on")
			look.Stop()
			return
		}
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case <-look.C:
		}
	}
}

// look scales how often to look, which is faster in tests.
func (c *Cloud) look(usual time.Duration) time.Duration {
	return time.Duration(float64(usual) * float64(c.pause) / float64(time.Second))
}
