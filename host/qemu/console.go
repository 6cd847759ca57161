package qemu

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Line is one line of the serial console, without escape sequences and other
// control characters.
type Line struct {
	At   time.Duration // since power-on, on the host's clock, when its end arrived
	Text string
}

// console reads the serial line, keeps every line and wakes those who wait for
// one.
type console struct {
	conn    net.Conn
	started time.Time
	log     *os.File
	onLine  func(Line)
	done    chan struct{} // closed at the end of the serial line

	mu      sync.Mutex
	lines   []Line
	mark    int
	changed chan struct{}
}

func newConsole(conn net.Conn, started time.Time, log *os.File, onLine func(Line)) *console {
	c := &console{
		conn:    conn,
		started: started,
		log:     log,
		onLine:  onLine,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	go c.read()
	return c
}

func (c *console) read() {
	defer close(c.done)
	defer c.log.Close()
	defer c.conn.Close()
	for r := bufio.NewReader(c.conn); ; {
		text, err := r.ReadString('\n')
		if clean := Clean(text); clean != "" {
			c.add(Line{At: time.Since(c.started), Text: clean})
		}
		if err != nil {
			return
		}
	}
}

func (c *console) add(line Line) {
	fmt.Fprintf(c.log, "%10.3f  %s\n", line.At.Seconds(), line.Text)
	c.mu.Lock()
	c.lines = append(c.lines, line)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.onLine != nil {
		c.onLine(line)
	}
}

// controlSequence is what firmware and boot loaders draw with: ECMA-48 control
// sequences and two-character escapes.
var controlSequence = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]")

// Clean removes escape sequences and control characters from a line.
func Clean(text string) string {
	text = controlSequence.ReplaceAllString(text, "")
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text), " \t")
}

// since returns the lines from index i on, and a channel that is closed when
// there are more.
func (c *console) since(i int) ([]Line, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[min(i, len(c.lines)):], c.changed
}

func (c *console) setMark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark = len(c.lines)
}

func (c *console) getMark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mark
}

// Lines returns the console's lines so far.
func (m *Machine) Lines() []Line {
	lines, _ := m.console.since(0)
	return lines
}

// Mark makes Expect forget the lines so far: to be called before the action
// whose effect is expected, when an earlier line could be taken for it.
func (m *Machine) Mark() { m.console.setMark() }

// Scale stretches a duration that is enough on a machine with hardware
// virtualisation to one that is enough on this machine.
func (m *Machine) Scale(d time.Duration) time.Duration { return m.Accel.Scale(d) }

// patient gives a context without a deadline the machine's Patience.
func (m *Machine) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, m.Scale(m.cfg.Patience))
}

// Expect waits for a line of the console that matches, and returns the match
// and its groups. Lines since power-on, or since the last Mark, count, so that
// things may be expected in another order than they happen in. It waits until
// the context's deadline or, when that has none, for Config.Patience scaled to
// the machine's speed; a machine that ends also ends the waiting. The error
// shows the console's last lines.
func (m *Machine) Expect(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	begin := time.Now()
	ctx, cancel := m.patient(ctx)
	defer cancel()
	for next := m.console.getMark(); ; {
		ended := !m.running()
		lines, changed := m.console.since(next)
		for _, line := range lines {
			if match := re.FindStringSubmatch(line.Text); match != nil {
				return match, nil
			}
		}
		next += len(lines)
		if ended {
			return nil, fmt.Errorf("no console line matches %q: the machine ended: %s%s", re, m.endText(), m.tailText())
		}
		select {
		case <-changed:
		case <-m.exited:
		case <-ctx.Done():
			return nil, fmt.Errorf("no console line matches %q: waited %s: %w%s",
				re, time.Since(begin).Round(time.Second), ctx.Err(), m.tailText())
		}
	}
}

// Eventually calls try until it returns nil, for as long as Expect would wait.
// The error is try's last one and shows the console's last lines.
func (m *Machine) Eventually(ctx context.Context, what string, try func(context.Context) error) error {
	begin := time.Now()
	ctx, cancel := m.patient(ctx)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(m.Scale(50 * time.Millisecond)):
		case <-m.exited:
			return fmt.Errorf("%s: %w; the machine ended: %s%s", what, err, m.endText(), m.tailText())
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w%s", what, time.Since(begin).Round(time.Second), err, m.tailText())
		}
	}
}

func (m *Machine) endText() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.end)
}

// Tail returns the last n lines of the console.
func (m *Machine) Tail(n int) []Line {
	lines := m.Lines()
	return lines[max(0, len(lines)-n):]
}

func (m *Machine) tailText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nlast lines of the console (all of it is in %s):\n", m.console.log.Name())
	for _, line := range m.Tail(30) {
		fmt.Fprintf(&b, "%10.3f  %s\n", line.At.Seconds(), line.Text)
	}
	if said, err := os.ReadFile(m.stderr); err == nil && len(said) > 0 {
		b.WriteString("QEMU says: " + string(said))
	}
	return strings.TrimRight(b.String(), "\n")
}
