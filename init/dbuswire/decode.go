package dbuswire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

var (
	little binary.ByteOrder = binary.LittleEndian
	big    binary.ByteOrder = binary.BigEndian
)

var errShort = errors.New("the message ends too early")

// decoder reads values out of buf, whose first byte is at an offset that is a
// multiple of 8.
type decoder struct {
	buf   []byte
	pos   int
	order binary.ByteOrder
}

// align skips padding, which must be zero.
func (d *decoder) align(n int) error {
	for d.pos%n != 0 {
		if d.pos >= len(d.buf) {
			return errShort
		}
		if d.buf[d.pos] != 0 {
			return errors.New("padding is not zero")
		}
		d.pos++
	}
	return nil
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.buf)-d.pos {
		return nil, errShort
	}
	b := d.buf[d.pos : d.pos+n]
	d.pos += n
	return b, nil
}

// value reads one value of the type t, a complete type.
func (d *decoder) value(t Signature, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if err := d.align(t.alignment()); err != nil {
		return nil, err
	}
	switch t[0] {
	case 'a':
		return d.array(t[1:], depth+1)
	case '(', '{':
		return d.structure(t.inner(), depth+1)
	case 'v':
		return d.variant(depth + 1)
	case 's', 'o', 'g':
		return d.text(t[0])
	}
	return d.fixed(t[0])
}

// fixed reads a value of a type whose size is always the same.
func (d *decoder) fixed(t byte) (any, error) {
	switch t {
	case 'y':
		b, err := d.take(1)
		if err != nil {
			return nil, err
		}
		return b[0], nil
	case 'n', 'q':
		b, err := d.take(2)
		if err != nil {
			return nil, err
		}
		if t == 'n' {
			return int16(d.order.Uint16(b)), nil
		}
		return d.order.Uint16(b), nil
	case 'x', 't', 'd':
		b, err := d.take(8)
		if err != nil {
			return nil, err
		}
		return eightBytes(t, d.order.Uint64(b)), nil
	}
	n, err := d.uint32()
	if err != nil {
		return nil, err
	}
	return fourBytes(t, n)
}

func eightBytes(t byte, n uint64) any {
	switch t {
	case 'x':
		return int64(n)
	case 'd':
		return math.Float64frombits(n)
	}
	return n
}

func fourBytes(t byte, n uint32) (any, error) {
	switch t {
	case 'b':
		if n > 1 {
			return nil, fmt.Errorf("%d is no boolean", n)
		}
		return n == 1, nil
	case 'i':
		return int32(n), nil
	case 'u':
		return n, nil
	case 'h':
		return UnixFD(n), nil
	}
	return nil, fmt.Errorf("%q is no type", t)
}

func (d *decoder) uint32() (uint32, error) {
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	return d.order.Uint32(b), nil
}

// text reads a string, an object path or a signature.
func (d *decoder) text(t byte) (any, error) {
	var size uint32
	if t == 'g' {
		b, err := d.take(1)
		if err != nil {
			return nil, err
		}
		size = uint32(b[0])
	} else {
		var err error
		if size, err = d.uint32(); err != nil {
			return nil, err
		}
	}
	if uint64(size)+1 > uint64(len(d.buf)-d.pos) {
		return nil, errShort
	}
	b, err := d.take(int(size) + 1)
	if err != nil {
		return nil, err
	}
	s := string(b[:size])
	if b[size] != 0 || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return nil, errors.New("a string does not end with zero, or is no UTF-8")
	}
	switch t {
	case 'o':
		return ObjectPath(s), ObjectPath(s).check()
	case 'g':
		return Signature(s), Signature(s).check()
	}
	return s, nil
}

func (d *decoder) variant(depth int) (any, error) {
	t, err := d.variantType(depth)
	if err != nil {
		return nil, err
	}
	value, err := d.value(t, depth)
	return Variant{t, value}, err
}

// variantType reads what is in front of the value of a variant.
func (d *decoder) variantType(depth int) (Signature, error) {
	v, err := d.text('g')
	if err != nil {
		return "", err
	}
	one, rest, err := v.(Signature).next(depth)
	if err != nil {
		return "", err
	}
	if rest != "" {
		return "", errors.New("a variant has several values")
	}
	return one, nil
}

// skip passes over a value. What is within an array is not looked at.
func (d *decoder) skip(t Signature, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if err := d.align(t.alignment()); err != nil {
		return err
	}
	switch t[0] {
	case 'a':
		return d.skipArray(t[1:])
	case '(', '{':
		return d.skipAll(t.inner(), depth+1)
	case 'v':
		inner, err := d.variantType(depth + 1)
		if err != nil {
			return err
		}
		return d.skip(inner, depth+1)
	}
	_, err := d.value(t, depth) // has no other values within
	return err
}

func (d *decoder) skipArray(element Signature) error {
	size, err := d.uint32()
	if err != nil {
		return err
	}
	if err := d.align(element.alignment()); err != nil {
		return err
	}
	if uint64(size) > uint64(len(d.buf)-d.pos) {
		return errShort
	}
	d.pos += int(size)
	return nil
}

func (d *decoder) skipAll(types Signature, depth int) error {
	for rest := types; rest != ""; {
		var one Signature
		var err error
		if one, rest, err = rest.next(depth); err != nil {
			return err
		}
		if err := d.skip(one, depth); err != nil {
			return err
		}
	}
	return nil
}

// array reads elements until the array's size is used up. Each takes at least
// one byte, so there are never more of them than bytes.
func (d *decoder) array(element Signature, depth int) (any, error) {
	size, err := d.uint32()
	if err != nil {
		return nil, err
	}
	if err := d.align(element.alignment()); err != nil {
		return nil, err
	}
	if uint64(size) > uint64(len(d.buf)-d.pos) {
		return nil, errShort
	}
	values := []any{}
	for end := d.pos + int(size); d.pos != end; {
		v, err := d.value(element, depth)
		if err != nil {
			return nil, err
		}
		if d.pos > end {
			return nil, errors.New("the last element of an array is longer than the array")
		}
		values = append(values, v)
	}
	return values, nil
}

func (d *decoder) structure(types Signature, depth int) (any, error) {
	var values []any
	for rest := types; rest != ""; {
		var one Signature
		var err error
		if one, rest, err = rest.next(depth); err != nil {
			return nil, err
		}
		v, err := d.value(one, depth)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}
