package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}`

// fakeQEMU greets, and answers every command with what answer returns.
func fakeQEMU(t *testing.T, conn net.Conn, answer func(command string, id int) string) {
	t.Helper()
	go func() {
		fmt.Fprintln(conn, greeting)
		for s := bufio.NewScanner(conn); s.Scan(); {
			var request struct {
				Execute string
				ID      int
			}
			if err := json.Unmarshal(s.Bytes(), &request); err != nil {
				t.Errorf("request %s: %v", s.Text(), err)
			}
			fmt.Fprintln(conn, answer(request.Execute, request.ID))
		}
	}()
}

func TestMonitor(t *testing.T) {
	ours, theirs := net.Pipe()
	fakeQEMU(t, theirs, func(command string, id int) string {
		switch command {
		case "query-status":
			return fmt.Sprintf(`{"return": {"running": true}, "id": %d}`, id)
		case "system_powerdown": // the event comes before the answer
			return fmt.Sprintf(`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "POWERDOWN"}
{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}
{"return": {}, "id": %d}`, id)
		case "device_del":
			return fmt.Sprintf(`{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}, "id": %d}`, id)
		}
		return fmt.Sprintf(`{"return": {}, "id": %d}`, id)
	})
	var events []string
	m := newMonitor(ours, func(e Event) { events = append(events, e.Name+" "+e.Reason()) })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	lab.Must(t, m.negotiate(ctx))

	got, err := m.Execute(ctx, "query-status", nil)
	if err != nil || string(got) != `{"running": true}` {
		t.Errorf("Execute(query-status) = %s, %v", got, err)
	}
	if _, err := m.Execute(ctx, "system_powerdown", nil); err != nil {
		t.Errorf("Execute(system_powerdown) = %v", err)
	}
	if diff := cmp.Diff([]string{"POWERDOWN ", "SHUTDOWN guest-shutdown"}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	_, err = m.Execute(ctx, "device_del", map[string]string{"id": "x"})
	var refused *CommandError
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || err.Error() != "qmp device_del: Device 'x' not found" {
		t.Errorf("Execute(device_del) = %v", err)
	}

	theirs.Close()
	<-m.done
	if _, err := m.Execute(ctx, "quit", nil); !errors.Is(err, errMonitorClosed) {
		t.Errorf("Execute after the end = %v, want %v", err, errMonitorClosed)
	}
}

func TestMonitorWithoutGreeting(t *testing.T) {
	ours, theirs := net.Pipe()
	theirs.Close()
	m := newMonitor(ours, func(Event) {})
	if err := m.negotiate(context.Background()); !errors.Is(err, errMonitorClosed) {
		t.Errorf("negotiate = %v, want %v", err, errMonitorClosed)
	}
}

// The power button is pressed until the guest has noticed, and not again.
func TestPowerOffPressesUntilNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		presses, noticed := 0, make(chan struct{})
		m := &Machine{Accel: KVM, end: PoweredOff, exited: make(chan struct{})}
		fakeQEMU(t, theirs, func(_ string, id int) string {
			if presses++; presses == 3 {
				close(noticed)
			}
			return fmt.Sprintf(`{"return": {}, "id": %d}`, id)
		})
		m.qmp = newMonitor(ours, func(Event) {})
		lab.Must(t, m.qmp.negotiate(t.Context())) // the first command
		time.AfterFunc(time.Minute, func() { close(m.exited) })
		if end, err := m.PowerOff(t.Context(), noticed); end != PoweredOff || err != nil {
			t.Errorf("PowerOff = %s, %v", end, err)
		}
		theirs.Close()
		<-m.qmp.done
		if presses != 3 {
			t.Errorf("the button was pressed %d times, want 2", presses-1)
		}
	})
}
