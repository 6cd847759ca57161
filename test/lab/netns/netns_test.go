//go:build root

package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

func TestNamespace(t *testing.T) {
	name := fmt.Sprintf("kios-netns-%d", os.Getpid())
	Add(t, name)
	l := Listen(t, name, "127.0.0.1:0")
	t.Cleanup(func() { l.Close() })
	address := l.Addr().String()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := Dial(ctx, name, "tcp", address)
	if err != nil {
		t.Fatalf("Dial in the namespace: %v", err)
	}
	conn.Close()
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		t.Error("what listens in the namespace answers outside of it")
	}

	IP(t, name, "tuntap", "add", "tap", "mode", "tap")
	OpenTap(t, name, "tap")
	lab.Eventually(t, 5*time.Second, "the interface's carrier", func() error {
		if text := IP(t, name, "link", "set", "tap", "up") + IP(t, name, "link", "show", "tap"); strings.Contains(text, "NO-CARRIER") {
			return fmt.Errorf("there is none: %s", text)
		}
		return nil
	})
}

// A program is told to stop, once, and what it says until its end is kept.
func TestStop(t *testing.T) {
	name := fmt.Sprintf("kios-stop-%d", os.Getpid())
	Add(t, name)
	p := Start(t, name, []string{"WORD=goodbye"}, "sh", "-c", `trap 'echo $WORD; exit' TERM; echo ready; while :; do sleep 0.1; done`)
	lab.Eventually(t, 20*time.Second, "a sign of life", func() error {
		if !strings.Contains(p.String(), "ready") {
			return fmt.Errorf("it has printed %q", p)
		}
		return nil
	})
	p.Stop()
	p.Stop()
	if got := p.String(); got != "ready\ngoodbye\n" {
		t.Errorf("the program printed %q", got)
	}
}
