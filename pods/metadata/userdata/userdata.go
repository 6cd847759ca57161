// Package userdata unpacks user data (base64, gzip, MIME) and gives each part to the
// package that knows its format.
//
// The order is the one of nodeadm, of Amazon, and of cloud-init, which both read more than
// their documentation asks for: any layer may be there or not, and layers may be in the
// parts of a MIME message again. A part is known by its content type, and else by how it
// begins. What is for a shell, or for another system, is named in want.Node.Skipped.
package userdata

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

const (
	maxBytes = 16 << 20 // of all that is unpacked
	maxParts = 64
	maxDepth = 4 // of MIME messages in MIME messages, and of layers around one text
)

// Handler reads one part. What it does not do is in want.Node.Skipped; an error is about
// the part as a whole.
type Handler func(text []byte, m *want.Machine, n *want.Node) error

// Handlers are the packages that know a format.
type Handlers struct {
	NodeConfig, FirstKiOS, CloudConfig, Ignition Handler
}

// Read reads user data. With an error, too, the node is what the other parts ask for.
func Read(data []byte, m *want.Machine, h Handlers) (*want.Node, error) {
	r := &reader{machine: m, node: new(want.Node), handlers: h, left: maxBytes}
	if len(data) > maxBytes {
		return r.node, errLarge
	}
	r.unpack(part{data: data}, 0)
	r.dropIns()
	return r.node, errors.Join(r.errs...)
}

// reader is one reading of user data.
type reader struct {
	machine  *want.Machine
	node     *want.Node
	handlers Handlers
	left     int // bytes that may still be unpacked
	parts    int
	errs     []error
}

// part is user data as a whole, or one part of a MIME message.
type part struct {
	data     []byte
	number   int    // from 1 on, 0 for the whole
	filename string // as its header says, "" for none
	kind     string // its media type, "" for none
}

func (p part) String() string {
	switch {
	case p.number == 0:
		return "user data"
	case p.filename == "":
		return fmt.Sprintf("user data, part %d", p.number)
	}
	return fmt.Sprintf("user data, part %d (%.100q)", p.number, p.filename)
}

func (r *reader) fail(p part, err error) { r.errs = append(r.errs, fmt.Errorf("%s: %w", p, err)) }

var errDeep = fmt.Errorf("it is packed in more than %d layers: pack it once", maxDepth)

// unpack takes off the layers around a part, and reads what is in them.
func (r *reader) unpack(p part, depth int) {
	for layers := 0; ; layers++ {
		data, err := r.layer(p.data)
		if err == nil && data != nil && layers == maxDepth {
			err = errDeep
		}
		if err != nil {
			r.fail(p, err)
			return
		}
		if data == nil {
			break
		}
		p.data = data
	}
	if isUTF16(p.data) {
		r.fail(p, bounded.ErrUTF16)
		return
	}
	if !r.message(p, depth) {
		r.read(p)
	}
}

// isUTF16 finds a text as Windows writes it: with a mark of its order, or of letters that have
// a zero after them.
func isUTF16(data []byte) bool {
	return bounded.IsMarkedUTF16(data) || len(data) > 1 && data[0] > ' ' && data[1] == 0
}

// layer takes off one layer, or returns nil where there is none.
func (r *reader) layer(data []byte) ([]byte, error) {
	if bounded.IsGzip(data) {
		out, err := bounded.Gunzip(data, &r.left)
		return nonNil(out), err
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, nil
	}
	out, err := bounded.Base64(data)
	if err != nil {
		return nil, nil // it is a text
	}
	return nonNil(out), r.charge(len(out))
}

// nonNil tells nothing in a layer from no layer.
func nonNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

var errLarge = fmt.Errorf("user data have more than %d bytes when they are unpacked: send less", maxBytes)

// charge takes n bytes off those that may be unpacked.
func (r *reader) charge(n int) error {
	if r.left -= n; r.left < 0 {
		return errLarge
	}
	return nil
}

// read gives a text to the handler of its format.
func (r *reader) read(p part) {
	if len(bytes.TrimSpace(p.data)) == 0 {
		return
	}
	f := formatOf(p)
	handle := f.handler(r.handlers)
	switch {
	case f.foreign && p.number == 0:
		r.fail(p, fmt.Errorf("it is %s: %s", f.name, f.why))
	case handle == nil && f.why == "":
		r.node.Skip("%s: it is %s, which this node does not read", p, f.name)
	case handle == nil:
		r.node.Skip("%s: it is %s: %s", p, f.name, f.why)
	default:
		if err := handle(p.data, r.machine, r.node); err != nil {
			r.fail(p, fmt.Errorf("%s: %w", f.name, err))
		}
	}
}

// dropInDir is where other parts may have put pieces of a NodeConfig: they come last, in
// the order of their names.
const dropInDir = "/etc/eks/nodeadm.d/"

// dropIns reads the pieces of a NodeConfig that are files.
func (r *reader) dropIns() {
	var found []want.File
	r.node.Files = slices.DeleteFunc(r.node.Files, func(f want.File) bool {
		if !strings.HasPrefix(f.Path, "/etc/eks/") {
			return false
		}
		found = append(found, f)
		return true
	})
	slices.SortStableFunc(found, func(a, b want.File) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range found {
		r.dropIn(f)
	}
}

func (r *reader) dropIn(f want.File) {
	if !strings.HasPrefix(f.Path, dropInDir) || r.handlers.NodeConfig == nil {
		r.node.Skip("file %.200q: nothing on a node reads it", f.Path)
		return
	}
	if err := r.handlers.NodeConfig(f.Content, r.machine, r.node); err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", f.Path, err))
	}
}
