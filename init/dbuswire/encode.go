package dbuswire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// encoder appends values to buf, in little endian.
type encoder struct{ buf []byte }

func (e *encoder) align(n int) {
	for len(e.buf)%n != 0 {
		e.buf = append(e.buf, 0)
	}
}

func (e *encoder) uint32(n uint32) { e.buf = binary.LittleEndian.AppendUint32(e.buf, n) }

func (e *encoder) uint64(n uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, n) }

// value writes a value of the type t, a complete type.
func (e *encoder) value(t Signature, v any, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	e.align(t.alignment())
	switch t[0] {
	case 'a':
		return e.array(t[1:], v, depth+1)
	case '(', '{':
		return e.structure(t.inner(), v, depth+1)
	case 'v':
		return e.variant(v, depth+1)
	}
	if !e.basic(t[0], v) {
		return fmt.Errorf("%T is not of the type %s", v, t)
	}
	return nil
}

// basic reports false for a value that is not of the type.
func (e *encoder) basic(t byte, v any) bool {
	want := byte(0)
	switch v := v.(type) {
	case byte:
		want, e.buf = 'y', append(e.buf, v)
	case bool:
		want = 'b'
		e.uint32(map[bool]uint32{true: 1}[v])
	case int16:
		want, e.buf = 'n', binary.LittleEndian.AppendUint16(e.buf, uint16(v))
	case uint16:
		want, e.buf = 'q', binary.LittleEndian.AppendUint16(e.buf, v)
	case int32:
		want = 'i'
		e.uint32(uint32(v))
	case uint32:
		want = 'u'
		e.uint32(v)
	case UnixFD:
		want = 'h'
		e.uint32(uint32(v))
	case int64:
		want = 'x'
		e.uint64(uint64(v))
	case uint64:
		want = 't'
		e.uint64(v)
	case float64:
		want = 'd'
		e.uint64(math.Float64bits(v))
	default:
		return e.text(t, v)
	}
	return t == want
}

// text writes a string, an object path or a signature.
func (e *encoder) text(t byte, v any) bool {
	switch v := v.(type) {
	case string:
		// Texts of the system may hold anything. A client would end the
		// connection after a string that breaks the protocol.
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			v = strings.ReplaceAll(strings.ToValidUTF8(v, "?"), "\x00", "?")
		}
		e.uint32(uint32(len(v)))
		e.buf = append(append(e.buf, v...), 0)
		return t == 's'
	case ObjectPath:
		e.uint32(uint32(len(v)))
		e.buf = append(append(e.buf, v...), 0)
		return t == 'o' && v.check() == nil
	case Signature:
		e.buf = append(append(append(e.buf, byte(len(v))), v...), 0)
		return t == 'g' && len(v) < 256
	}
	return false
}

func (e *encoder) array(element Signature, v any, depth int) error {
	values, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%T is no array", v)
	}
	at := len(e.buf)
	e.uint32(0) // the size, which is known later and without padding
	e.align(element.alignment())
	start := len(e.buf)
	for _, v := range values {
		if err := e.value(element, v, depth); err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint32(e.buf[at:], uint32(len(e.buf)-start))
	return nil
}

func (e *encoder) structure(types Signature, v any, depth int) error {
	values, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%T is no struct", v)
	}
	rest := types
	for _, v := range values {
		one, after, err := rest.next(depth)
		if err != nil {
			return err
		}
		if err := e.value(one, v, depth); err != nil {
			return err
		}
		rest = after
	}
	if rest != "" {
		return fmt.Errorf("a struct has fewer values than %s", types)
	}
	return nil
}

func (e *encoder) variant(v any, depth int) error {
	variant, ok := v.(Variant)
	if !ok {
		return fmt.Errorf("%T is no variant", v)
	}
	one, rest, err := variant.Type.next(depth)
	if err != nil || rest != "" {
		return fmt.Errorf("a variant cannot have the type %q", variant.Type)
	}
	if !e.text('g', one) {
		return fmt.Errorf("a variant cannot have the type %q", variant.Type)
	}
	return e.value(one, variant.Value, depth)
}
