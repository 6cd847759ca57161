package dbuswire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/test/lab"
)

const limit = 1 << 16

// all has a value of each type.
var all = []struct {
	t Signature
	v any
}{
	{"y", byte(7)}, {"b", true}, {"n", int16(-2)}, {"q", uint16(3)}, {"i", int32(-4)}, {"u", uint32(5)},
	{"x", int64(-6)}, {"t", uint64(1) << 63}, {"d", 0.5}, {"s", "text"}, {"o", ObjectPath("/a/b")}, {"g", Signature("a{sv}")},
	{"h", UnixFD(0)}, {"v", Variant{"(sb)", []any{"x", false}}}, {"as", []any{"a", "", "c"}}, {"ax", []any{}},
	{"a{sv}", []any{[]any{"k", Variant{"u", uint32(1)}}, []any{"l", Variant{"s", "m"}}}},
	{"a(ssssuu)", []any{[]any{"a", "b", "c", "d", uint32(1), uint32(2)}}}, {"aay", []any{[]any{byte(1)}, []any{}}},
}

func TestRoundTrip(t *testing.T) {
	want := &Message{
		Type: Call, Flags: NoReply, Serial: 42, Path: "/org/freedesktop/login1", Interface: "org.freedesktop.login1.Manager",
		Member: "Everything", Destination: "org.freedesktop.login1", Sender: ":1.7", Files: 1,
	}
	for _, a := range all {
		want.Signature += a.t
		want.Body = append(want.Body, a.v)
	}
	text, err := want.Encode()
	lab.Must(t, err)
	got, err := Read(bytes.NewReader(text), limit)
	lab.Must(t, err)
	if got.Body, err = got.Args(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Message{})); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	for n := range text {
		if _, err := Read(bytes.NewReader(text[:n]), limit); err == nil {
			t.Errorf("the first %d of %d bytes are a message", n, len(text))
		}
	}
	if _, err := Read(bytes.NewReader(text), len(text)-1); err != ErrTooLong {
		t.Errorf("with a limit that is too low: %v, want %v", err, ErrTooLong)
	}
}

// TestBigEndian reads a message of a client on another kind of machine.
func TestBigEndian(t *testing.T) {
	text := "B\x01\x00\x01" + "\x00\x00\x00\x04" + "\x00\x00\x00\x01" + "\x00\x00\x00\x27" +
		"\x01\x01o\x00" + "\x00\x00\x00\x02/a\x00" + "\x00\x00\x00\x00\x00" +
		"\x03\x01s\x00" + "\x00\x00\x00\x04Ping\x00" + "\x00\x00\x00" +
		"\x08\x01g\x00" + "\x01u\x00" + "\x00" + "\x00\x00\x01\x02"
	m, err := Read(strings.NewReader(text), limit)
	lab.Must(t, err)
	args, err := m.Args()
	if err != nil || m.Path != "/a" || m.Member != "Ping" || !cmp.Equal(args, []any{uint32(258)}) {
		t.Errorf("message = %+v, %v, %v", m, args, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	deep := Signature(strings.Repeat("a", 40) + "y")
	for _, tt := range []struct {
		t Signature
		v any
	}{
		{"s", 1}, {"u", "x"}, {"b", byte(1)}, {"as", "x"}, {"(s)", "x"}, {"(ss)", []any{"x"}}, {"(s)", []any{"x", "y"}},
		{"v", "x"}, {"v", Variant{"", 1}}, {"v", Variant{"ss", 1}}, {"o", ObjectPath("x")}, {"r", 1}, {"a", []any{}},
		{"a{vs}", []any{}}, {"()", []any{}}, {deep, []any{}}, {"s", nil},
	} {
		m := Message{Type: Return, Serial: 1, ReplySerial: 1, Signature: tt.t, Body: []any{tt.v}}
		if text, err := m.Encode(); err == nil {
			t.Errorf("Encode of %#v as %s = %q", tt.v, tt.t, text)
		}
	}
}

func TestSignature(t *testing.T) {
	for s, want := range map[Signature]bool{
		"": true, "s": true, "a{sv}": true, "a(ssssuu)": true, "aaay": true, "((s)(a{s(uv)}))": true,
		"a": false, "(": false, "(s": false, ")": false, "()": false, "{sv}": false, "a{s}": false, "a{svs}": false,
		"a{(s)s}": false, "z": false, "s\x00": false, Signature(strings.Repeat("s", 256)): false,
		Signature(strings.Repeat("a", 32) + "y"): true, Signature(strings.Repeat("a", 33) + "y"): false,
		Signature(strings.Repeat("(", 33) + "y" + strings.Repeat(")", 33)): false,
	} {
		if err := s.check(); (err == nil) != want {
			t.Errorf("check(%s) = %v", s, err)
		}
	}
}

func TestObjectPath(t *testing.T) {
	for p, want := range map[ObjectPath]bool{
		"/": true, "/a": true, "/org/freedesktop/systemd1/unit/kubelet_2eservice": true,
		"": false, "a": false, "//": false, "/a/": false, "/a//b": false, "/a-b": false, "/ä": false,
	} {
		if err := p.check(); (err == nil) != want {
			t.Errorf("check(%s) = %v", p, err)
		}
	}
}

// FuzzRead reads what a client might send. What can be read can be written,
// and then reads the same.
func FuzzRead(f *testing.F) {
	for _, a := range all {
		m := Message{Type: Signal, Serial: 1, Path: "/", Interface: "a.b", Member: "C", Signature: a.t, Body: []any{a.v}}
		text, err := m.Encode()
		lab.Must(f, err)
		f.Add(text)
		big := bytes.Clone(text)
		big[0] = 'B'
		f.Add(big)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Read(bytes.NewReader(text), limit)
		if err != nil {
			return
		}
		if m.Body, err = m.Args(); err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", m, err)
		}
		n, err := Read(bytes.NewReader(again), 2*limit)
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", m, err)
		}
		if n.Body, err = n.Args(); err != nil {
			t.Fatalf("%+v cannot be read again: %v", m, err)
		}
		if diff := cmp.Diff(m, n, cmpopts.IgnoreUnexported(Message{}), cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("written and read again (-want +got):\n%s", diff)
		}
	})
}

// withField returns a message with a header field more, of that code.
func withField(t *testing.T, code byte, v Variant) []byte {
	t.Helper()
	m := Message{Type: Call, Serial: 1, Path: "/", Member: "M"}
	e := &encoder{buf: []byte{'l', byte(m.Type), 0, version}}
	e.uint32(0)
	e.uint32(m.Serial)
	lab.Must(t, e.value("a(yv)", append([]any{[]any{code, v}}, m.fields()...), 0))
	e.align(8)
	return e.buf
}

// Header fields that are not known are ignored, and cost less memory than they have
// bytes.
func TestUnknownFields(t *testing.T) {
	deep := Variant{"y", byte(1)}
	for range 12 {
		deep = Variant{"v", deep}
	}
	var many []any
	for range 10000 {
		many = append(many, "x")
	}
	for _, v := range []Variant{
		{"y", byte(1)}, {"s", "text"}, {"(sa{sv}t)", []any{"x", []any{[]any{"k", deep}}, uint64(1)}}, deep, {"as", many}, {"a(s)", []any{}},
	} {
		text := withField(t, 77, v)
		var m *Message
		var err error
		spent := testing.AllocsPerRun(1, func() { m, err = Read(bytes.NewReader(text), 1<<20) })
		if err != nil || m.Path != "/" || m.Member != "M" {
			t.Errorf("a field of the type %s: %+v, %v", v.Type, m, err)
		}
		if spent > 50 {
			t.Errorf("a field of the type %s took %v allocations", v.Type, spent)
		}
	}
}

func TestFieldTypes(t *testing.T) {
	for _, v := range []Variant{{"as", []any{"x"}}, {"v", Variant{"s", "x"}}, {"u", uint32(1)}} {
		if m, err := Read(bytes.NewReader(withField(t, fieldPath, v)), limit); err == nil {
			t.Errorf("a path of the type %s: %+v", v.Type, m)
		}
	}
}
