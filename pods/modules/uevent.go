package modules

import (
	"context"
	"path"

	"kios/internal/uevent"
)

// event is the news of a device, or that some news were lost.
type event struct {
	device device
	lost   bool
}

// listen sends each device that the kernel announces, until ctx ends. Call it
// before walk, and nothing slips through between the two.
func listen(ctx context.Context) (<-chan event, error) {
	socket, err := uevent.Listen()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { socket.Close() })
	events := make(chan event, 64)
	go func() {
		defer close(events)
		for {
			e, err := socket.Next()
			if err != nil {
				return
			}
			if d, ok := deviceOf(e); ok || e.Lost {
				events <- event{d, e.Lost}
			}
		}
	}()
	return events, nil
}

// deviceOf returns the device that an event announces, if it does announce one.
func deviceOf(e uevent.Event) (device, bool) {
	d := device{
		name:  e.Fields["SUBSYSTEM"] + " device " + path.Base(e.Fields["DEVPATH"]),
		alias: e.Fields["MODALIAS"],
	}
	return d, e.Action == "add" && d.alias != ""
}
