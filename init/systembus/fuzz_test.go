package systembus

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	"kios/init/dbuswire"
	"kios/test/lab"
)

// FuzzAuth is a client that has not been let in.
func FuzzAuth(f *testing.F) {
	f.Add([]byte("\x00AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"))
	f.Add([]byte("\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"))
	f.Add([]byte("\x00AUTH EXTERNAL 31\r\nCANCEL\r\nBEGIN\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a := &auth{uid: 0, id: "x"}
		err := a.run(bufio.NewReader(bytes.NewReader(text)), io.Discard)
		if err == nil && (!a.known || !bytes.Contains(text, []byte("AUTH EXTERNAL"))) {
			t.Errorf("%q is let in", text)
		}
	})
}

// FuzzCall is a client of root's that sends any message.
func FuzzCall(f *testing.F) {
	for _, m := range []dbuswire.Message{
		{Destination: loginName, Path: loginPath, Interface: loginManager, Member: "Inhibit", Signature: "ssss", Body: []any{"shutdown", "a", "b", "delay"}},
		{Destination: loginName, Path: loginPath, Interface: "org.freedesktop.DBus.Properties", Member: "GetAll", Signature: "s", Body: []any{loginManager}},
		{Destination: systemdName, Path: systemdPath, Member: "ListUnitsByPatterns", Signature: "asas", Body: []any{texts("active"), texts("k*")}},
		{Destination: driverName, Path: driverPath, Member: "AddMatch", Signature: "s", Body: []any{"type='signal',arg0='x'"}},
		{Destination: loginName, Path: loginPath, Interface: "org.freedesktop.DBus.Properties", Member: "Set", Signature: "ssv",
			Body: []any{loginManager, "Docked", dbuswire.Variant{Type: "a{sv}", Value: []any{}}}},
		{Path: "/org", Member: "Introspect"},
	} {
		m.Type, m.Serial = dbuswire.Call, 1
		text, err := m.Encode()
		lab.Must(f, err)
		f.Add(text)
	}
	no := func(string, string) error { return nil }
	s := newServer(Host{
		Log: &logs{}, Stop: func(Action, string) {}, Unit: func(string) Unit { return Unit{} }, RestartUnit: no,
		StaticHostname: func() string { return "" }, SetStaticHostname: no, SetHostname: no,
	})
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := dbuswire.Read(bytes.NewReader(text), maxMessage)
		if err != nil {
			return
		}
		s.login.requested = false
		c := &client{server: s, name: ":1.9", out: make(chan packet, maxQueue), done: make(chan struct{})}
		out, results, err := s.call(c, m)
		c.reply(m, out, results, err)
		c.drain()
		select {
		case <-c.done:
			t.Errorf("the answer to %+v cannot be written", m)
		default:
		}
	})
}
