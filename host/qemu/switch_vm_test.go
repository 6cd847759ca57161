//go:build vm

package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kios/test/lab"
)

// peer is what QEMU is at its end of a switch's port: each frame goes over the
// stream behind its length.
type peer struct {
	t    *testing.T
	s    *Switch
	conn net.Conn
	mac  byte // the last byte of its address
}

func join(t *testing.T, s *Switch, port string, mac byte) *peer {
	t.Helper()
	conn, err := net.Dial("unix", PortSocket(s.Dir, port))
	lab.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t, s, conn, mac}
}

// frame is an Ethernet frame to all, of a type for experiments.
func (p *peer) frame(payload []byte) []byte {
	header := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, p.mac, 0x88, 0xb5}
	return append(header, payload...)
}

// packet is a frame as it goes over the stream.
func (p *peer) packet(payload []byte) []byte {
	frame := p.frame(payload)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

func (p *peer) send(payload []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(p.packet(payload)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() []byte {
	p.t.Helper()
	var size uint32
	if err := binary.Read(p.conn, binary.BigEndian, &size); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.s.Dir, "qemu.log"))
		p.t.Fatalf("peer %d: %v; the switch runs: %v, and its log is:\n%s", p.mac, err, p.s.Running(), log)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(p.conn, frame); err != nil {
		p.t.Fatalf("peer %d: %v", p.mac, err)
	}
	return frame
}

// expect fails unless the next frame, greetings aside, is this one of another
// peer.
func (p *peer) expect(from *peer, payload string) {
	p.t.Helper()
	want := from.frame([]byte(payload))
	for {
		got := p.receive()
		if bytes.Equal(got, want) {
			return
		}
		if !bytes.HasSuffix(got, []byte(hello)) {
			p.t.Fatalf("peer %d has received %q, want %q", p.mac, got, want)
		}
	}
}

const hello = "hello"

// meet makes sure that QEMU has accepted this connection and the others: it does
// not keep frames for those that it does not know yet, so they are sent again.
func (p *peer) meet(others ...*peer) {
	p.t.Helper()
	for _, other := range others {
		met := make(chan struct{})
		go func() {
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for {
				p.conn.Write(p.packet([]byte(hello))) // or the other one waits in vain
				select {
				case <-again.C:
				case <-met:
					return
				}
			}
		}()
		other.expect(p, hello)
		close(met)
	}
}

func startSwitch(t *testing.T) *Switch {
	t.Helper()
	dir, err := os.MkdirTemp("", "kios-switch-") // t.TempDir's are long for a socket
	lab.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := StartSwitch(t.Context(), SwitchConfig{Dir: dir, Ports: []string{"a", "b", "c"}})
	lab.Must(t, err)
	t.Cleanup(func() { s.Kill() })
	return s
}

// three joins them one by one, so that each knows which frames it will see.
func three(t *testing.T, s *Switch) (a, b, c *peer) {
	t.Helper()
	a = join(t, s, "a", 0xa)
	b = join(t, s, "b", 0xb)
	b.meet(a)
	c = join(t, s, "c", 0xc)
	c.meet(a, b)
	return a, b, c
}

func TestSwitch(t *testing.T) {
	a, b, c := three(t, startSwitch(t))
	full := bytes.Repeat([]byte("x"), 1500)
	a.send(full)
	b.expect(a, string(full))
	c.expect(a, string(full))
}

func TestSwitchTakesAMachineBack(t *testing.T) {
	s := startSwitch(t)
	a := join(t, s, "a", 0xa)
	for range 3 {
		b := join(t, s, "b", 0xb)
		b.meet(a)
		a.send([]byte("welcome"))
		b.expect(a, "welcome")
		b.conn.Close()
	}
}

func TestSwitchIsFoundAgain(t *testing.T) {
	s := startSwitch(t)
	again, err := AttachSwitch(s.Dir)
	lab.Must(t, err)
	lab.Must(t, again.Kill())
	<-s.Done()
	if _, err := AttachSwitch(s.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("AttachSwitch after its end = %v, want %v", err, ErrNotRunning)
	}
}

// The firmware finds nothing to boot on this disk, which is enough of a
// machine.
func TestDetachedMachine(t *testing.T) {
	s := startSwitch(t)
	disk := filepath.Join(s.Dir, "disk.img")
	lab.Must(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	cfg := Config{Dir: filepath.Join(s.Dir, "machine"), Disks: []Disk{{Path: disk}}, Accel: TCG, Switch: PortSocket(s.Dir, "a")}
	lab.Must(t, os.Mkdir(cfg.Dir, 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := StartDetached(ctx, cfg)
	lab.Must(t, err)
	defer m.Kill()
	if _, err := StartDetached(ctx, cfg); err == nil {
		t.Error("the same machine has started twice")
	}
	again, err := Attach(cfg.Dir)
	lab.Must(t, err)
	if _, err := again.Execute(ctx, "query-status", nil); err != nil {
		t.Error(err)
	}
	if err := again.SetLink(ctx, "nic0", false); err != nil {
		t.Error(err)
	}
	if !m.Running() {
		t.Error("Running = false while it runs")
	}
	if err := again.Kill(); err != nil {
		t.Error(err)
	}
	<-m.Done()
}

func BenchmarkSwitch(b *testing.B) {
	s, err := StartSwitch(b.Context(), SwitchConfig{Dir: b.TempDir(), Ports: []string{"a", "b"}})
	lab.Must(b, err)
	defer s.Kill()
	from, err := net.Dial("unix", PortSocket(s.Dir, "a"))
	lab.Must(b, err)
	to, err := net.Dial("unix", PortSocket(s.Dir, "b"))
	lab.Must(b, err)
	frame := append(bytes.Repeat([]byte{0xff}, 6), make([]byte, 1508)...)
	frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	b.SetBytes(int64(len(frame)))
	go func() {
		for range b.N + 1000 {
			if _, err := from.Write(frame); err != nil {
				return
			}
		}
	}()
	if _, err := io.CopyN(io.Discard, to, int64(b.N*len(frame))); err != nil {
		b.Fatal(fmt.Errorf("after %d: %w", b.N, err))
	}
}
