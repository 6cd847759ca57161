package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Event is something that QEMU reports by itself; qapi/run-state.json and its
// neighbours list them.
type Event struct {
	Name string
	Data json.RawMessage
}

// Reason is the event's "reason", which SHUTDOWN and RESET carry.
func (e Event) Reason() string {
	var data struct{ Reason string }
	json.Unmarshal(e.Data, &data)
	return data.Reason
}

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

func (e *CommandError) Error() string { return fmt.Sprintf("qmp %s: %s", e.Command, e.Desc) }

var errMonitorClosed = errors.New("qmp: the machine has ended")

// message is anything that QEMU sends: a greeting, an answer or an event.
type message struct {
	QMP    json.RawMessage
	Return json.RawMessage
	Error  *CommandError
	ID     int
	Event  string
	Data   json.RawMessage
}

// monitor is the client's side of the QEMU machine protocol.
type monitor struct {
	conn    io.ReadWriteCloser
	onEvent func(Event)
	greeted chan struct{}
	done    chan struct{} // no more messages come

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
}

func newMonitor(conn io.ReadWriteCloser, onEvent func(Event)) *monitor {
	m := &monitor{
		conn:    conn,
		onEvent: onEvent,
		greeted: make(chan struct{}),
		done:    make(chan struct{}),
		waiting: map[int]chan message{},
	}
	go m.read()
	return m
}

// negotiate waits for the greeting and leaves the negotiation mode, after
// which QEMU accepts commands and sends events.
func (m *monitor) negotiate(ctx context.Context) error {
	select {
	case <-m.greeted:
	case <-m.done:
		return errMonitorClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for QEMU's greeting: %w", ctx.Err())
	}
	_, err := m.Execute(ctx, "qmp_capabilities", nil)
	return err
}

func (m *monitor) read() {
	defer close(m.done)
	defer m.conn.Close()
	for d := json.NewDecoder(m.conn); ; {
		var msg message
		if err := d.Decode(&msg); err != nil {
			return
		}
		m.dispatch(msg)
	}
}

func (m *monitor) dispatch(msg message) {
	switch {
	case msg.QMP != nil:
		close(m.greeted)
	case msg.Event != "":
		m.onEvent(Event{Name: msg.Event, Data: msg.Data})
	default:
		m.mu.Lock()
		answer, ok := m.waiting[msg.ID]
		delete(m.waiting, msg.ID)
		m.mu.Unlock()
		if ok {
			answer <- msg
		}
	}
}

// Execute runs one command and returns its answer. Commands may run at the
// same time; QEMU answers each by its id.
func (m *monitor) Execute(ctx context.Context, command string, args any) ([]byte, error) {
	answer, err := m.send(command, args)
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case msg := <-answer:
		if msg.Error != nil {
			msg.Error.Command = command
			return nil, msg.Error
		}
		return msg.Return, nil
	case <-m.done:
		return nil, errMonitorClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
}

func (m *monitor) send(command string, args any) (chan message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	request := map[string]any{"execute": command, "id": m.last}
	if args != nil {
		request["arguments"] = args
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	m.waiting[m.last] = answer
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		delete(m.waiting, m.last)
		return nil, errMonitorClosed
	}
	return answer, nil
}
