// Package dbuswire turns D-Bus messages into bytes and back, as the chapters
// "Type System" and "Message Protocol" of the D-Bus Specification describe.
//
// It is made for a server whose clients are not trusted: a message has a
// bounded size, nesting has a bounded depth, and what is read is checked in
// full. It leaves out connections and authentication.
//
// A value is a Go value of the same kind: byte, bool, int16, uint16, int32, uint32,
// int64, uint64, float64, string, ObjectPath, Signature, UnixFD or Variant.
// Arrays, structs and entries of dictionaries are []any.
package dbuswire

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ObjectPath names an object, such as /org/freedesktop/login1.
type ObjectPath string

// Signature describes types, such as a{sv}.
type Signature string

// UnixFD is the place of a file descriptor among those sent with a message.
type UnixFD uint32

// Variant is a value with its type.
type Variant struct {
	Type  Signature
	Value any
}

// Type is what a message is.
type Type byte

// The types of messages.
const (
	Call   Type = 1
	Return Type = 2
	Fault  Type = 3
	Signal Type = 4
)

// NoReply is the flag of a call whose sender wants no answer.
const NoReply = 1

// Message is one message. Fields that it does not have are zero.
type Message struct {
	Type        Type
	Flags       byte
	Serial      uint32
	Path        ObjectPath
	Interface   string
	Member      string
	ErrorName   string
	ReplySerial uint32
	Destination string
	Sender      string
	Signature   Signature
	Files       uint32 // how many file descriptors come with it

	// Body is what Encode writes. Read leaves it to Args: most messages are
	// refused before anybody needs their arguments.
	Body []any

	body decoder
}

// The codes of header fields.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSender      = 7
	fieldSignature   = 8
	fieldFiles       = 9
)

// fieldTypes are the types that header fields have.
const fieldTypes = "osug"

// fixedSize is the size of the beginning that every message has: byte order, type,
// flags, version, the body's length, the serial number and the length of the
// array of header fields.
const fixedSize = 16

const version = 1

// ErrTooLong is the error of a message that is longer than the reader's limit.
var ErrTooLong = errors.New("the message is too long")

// Read reads one message of at most limit bytes.
func Read(r io.Reader, limit int) (*Message, error) {
	var fixed [fixedSize]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return nil, err
	}
	d := decoder{buf: fixed[:]}
	switch fixed[0] {
	case 'l':
		d.order = little
	case 'B':
		d.order = big
	default:
		return nil, fmt.Errorf("%q is no byte order", fixed[0])
	}
	if fixed[3] != version {
		return nil, fmt.Errorf("version %d of the protocol is not known", fixed[3])
	}
	bodySize := uint64(d.order.Uint32(fixed[4:]))
	fieldsSize := uint64(d.order.Uint32(fixed[12:]))
	start := (fixedSize + fieldsSize + 7) &^ 7 // of the body
	if start+bodySize > uint64(limit) {
		return nil, ErrTooLong
	}
	d.buf = make([]byte, start+bodySize)
	copy(d.buf, fixed[:])
	if _, err := io.ReadFull(r, d.buf[fixedSize:]); err != nil {
		return nil, err
	}
	return d.message(int(start))
}

// message decodes what is in front of the body.
func (d decoder) message(start int) (*Message, error) {
	m := &Message{Type: Type(d.buf[1]), Flags: d.buf[2], Serial: d.order.Uint32(d.buf[8:])}
	m.body = decoder{buf: d.buf[start:], order: d.order}
	if m.Type == 0 || m.Serial == 0 {
		return nil, errors.New("the type or the serial number of the message is 0")
	}
	d.buf, d.pos = d.buf[:start], 12
	if err := d.header(m); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if err := d.align(8); err != nil {
		return nil, err
	}
	return m, m.check()
}

// header decodes an array of header fields, a(yv). Unknown ones must be ignored: they
// are skipped, because whatever is made of them costs more memory than they have bytes.
func (d *decoder) header(m *Message) error {
	size, err := d.uint32()
	if err != nil {
		return err
	}
	if uint64(size) > uint64(len(d.buf)-d.pos) {
		return errShort
	}
	for end := d.pos + int(size); d.pos != end; {
		if err := d.field(m); err != nil {
			return err
		}
		if d.pos > end {
			return errors.New("the last field is longer than the array")
		}
	}
	return nil
}

func (d *decoder) field(m *Message) error {
	if err := d.align(8); err != nil {
		return err
	}
	code, err := d.take(1)
	if err != nil {
		return err
	}
	t, err := d.variantType(1)
	if err != nil {
		return err
	}
	if code[0] == 0 || code[0] > fieldFiles {
		return d.skip(t, 1)
	}
	if strings.IndexByte(fieldTypes, t[0]) < 0 {
		return fmt.Errorf("field %d has the wrong type %s", code[0], t)
	}
	v, err := d.value(t, 1)
	if err != nil {
		return err
	}
	return m.set(code[0], v)
}

// set stores one header field.
func (m *Message) set(code byte, value any) error {
	ok := true
	switch code {
	case fieldPath:
		m.Path, ok = value.(ObjectPath)
	case fieldInterface:
		m.Interface, ok = value.(string)
	case fieldMember:
		m.Member, ok = value.(string)
	case fieldErrorName:
		m.ErrorName, ok = value.(string)
	case fieldReplySerial:
		m.ReplySerial, ok = value.(uint32)
	case fieldDestination:
		m.Destination, ok = value.(string)
	case fieldSender:
		m.Sender, ok = value.(string)
	case fieldSignature:
		m.Signature, ok = value.(Signature)
	case fieldFiles:
		m.Files, ok = value.(uint32)
	}
	if !ok {
		return fmt.Errorf("header field %d has the wrong type %T", code, value)
	}
	return nil
}

// check demands the header fields that a message of its type must have.
func (m *Message) check() error {
	for _, name := range []string{m.Interface, m.Member, m.ErrorName, m.Destination, m.Sender} {
		if !validName(name) {
			return fmt.Errorf("%.64q is no name", name)
		}
	}
	complete := true
	switch m.Type {
	case Call:
		complete = m.Path != "" && m.Member != ""
	case Return:
		complete = m.ReplySerial != 0
	case Fault:
		complete = m.ReplySerial != 0 && m.ErrorName != ""
	case Signal:
		complete = m.Path != "" && m.Interface != "" && m.Member != ""
	}
	if !complete {
		return fmt.Errorf("a message of type %d lacks a header field that it must have", m.Type)
	}
	if m.Signature == "" && len(m.body.buf) > 0 {
		return errors.New("there is a body, but no signature")
	}
	return nil
}

// validName is less strict than the grammar of names: it accepts what does no harm
// in a log or a reply. An unknown name is refused later.
func validName(s string) bool {
	return len(s) <= 255 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// Args decodes the body of a message that was read.
func (m *Message) Args() ([]any, error) {
	d := m.body
	var args []any
	for rest := m.Signature; rest != ""; {
		var one Signature
		var err error
		if one, rest, err = rest.next(0); err != nil {
			return nil, err
		}
		v, err := d.value(one, 0)
		if err != nil {
			return nil, fmt.Errorf("read argument %d: %w", len(args)+1, err)
		}
		args = append(args, v)
	}
	if d.pos != len(d.buf) {
		return nil, errors.New("the body is longer than its signature says")
	}
	return args, nil
}

// Encode returns the bytes of a message, in little endian.
func (m *Message) Encode() ([]byte, error) {
	body := &encoder{}
	rest := m.Signature
	for i, v := range m.Body {
		one, after, err := rest.next(0)
		if err != nil {
			return nil, fmt.Errorf("write argument %d of %s: %w", i+1, m.Member, err)
		}
		if err := body.value(one, v, 0); err != nil {
			return nil, fmt.Errorf("write argument %d of %s: %w", i+1, m.Member, err)
		}
		rest = after
	}
	if rest != "" {
		return nil, fmt.Errorf("write %s: there are fewer arguments than in %s", m.Member, m.Signature)
	}
	e := &encoder{buf: []byte{'l', byte(m.Type), m.Flags, version}}
	e.uint32(uint32(len(body.buf)))
	e.uint32(m.Serial)
	if err := e.value("a(yv)", m.fields(), 0); err != nil {
		return nil, fmt.Errorf("write the header of %s: %w", m.Member, err)
	}
	e.align(8)
	return append(e.buf, body.buf...), nil
}

func (m *Message) fields() []any {
	var fields []any
	add := func(code byte, t Signature, v any, there bool) {
		if there {
			fields = append(fields, []any{code, Variant{t, v}})
		}
	}
	add(fieldPath, "o", m.Path, m.Path != "")
	add(fieldInterface, "s", m.Interface, m.Interface != "")
	add(fieldMember, "s", m.Member, m.Member != "")
	add(fieldErrorName, "s", m.ErrorName, m.ErrorName != "")
	add(fieldReplySerial, "u", m.ReplySerial, m.ReplySerial != 0)
	add(fieldDestination, "s", m.Destination, m.Destination != "")
	add(fieldSender, "s", m.Sender, m.Sender != "")
	add(fieldSignature, "g", m.Signature, m.Signature != "")
	add(fieldFiles, "u", m.Files, m.Files != 0)
	return fields
}
