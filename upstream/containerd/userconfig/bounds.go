package userconfig

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Bounds of what a user's files may be, all of them together. Decoding takes the square of
// the number of keys, and of how deep they are.
const (
	maxFile  = 256 << 10 // bytes
	maxFiles = 64        // and imports that name them
	maxKeys  = 5000      // see weigh
	maxDepth = 20        // tables and lists in one another; containerd's own have 8
	maxWild  = 2         // directories in one import that may be any
)

// spent is what the files before took of these bounds.
type spent struct{ bytes, keys, imports int }

// admit counts a file in, or says why it would take too long to decode.
func (s *spent) admit(text []byte) error {
	keys, err := weigh(text)
	if err != nil {
		return err
	}
	switch {
	case s.bytes+len(text) > maxFile:
		return fmt.Errorf("with the files before it, it has more than %d bytes: at most these are read", maxFile)
	case s.keys+keys > maxKeys && s.keys > 0:
		return fmt.Errorf("with the files before it, it has more than %d keys: remove some", maxKeys)
	}
	s.bytes, s.keys = s.bytes+len(text), s.keys+keys
	return nil
}

// weigh counts the keys of a file: each part of a dotted one, and of the names of tables,
// because it may make a table; and each list and inline table, because a list can have
// many. It reads the text with the parser of the decoder, in linear time, so that what it
// counts is what is decoded.
func weigh(text []byte) (keys int, err error) {
	var p unstable.Parser
	p.Reset(slices.Clip(text)) // its positions need one without spare capacity
	table := 0                 // the depth of the table that is being filled
	for p.NextExpression() {
		e := p.Expression()
		k, depth := weighNode(e)
		if e.Kind == unstable.KeyValue {
			depth += table
		} else {
			table = depth
		}
		if depth > maxDepth {
			return 0, fmt.Errorf("it has tables or lists nested more than %d deep, or a key of more parts", maxDepth)
		}
		if keys += k; keys > maxKeys {
			return 0, fmt.Errorf("it has more than %d keys: remove some", maxKeys)
		}
	}
	return keys, locate(&p)
}

// weighNode counts the keys in a node, and how deep they are below it.
func weighNode(n *unstable.Node) (keys, depth int) {
	own := 0
	for it := n.Children(); it.Next(); {
		if child := it.Node(); child.Kind == unstable.Key {
			own++
		} else {
			k, d := weighNode(child)
			keys, depth = keys+k, max(depth, d)
		}
	}
	switch n.Kind {
	case unstable.Array:
		return keys + 1, depth + 1
	case unstable.InlineTable: // its keys are what is one deeper
		return keys + 1, depth
	}
	return keys + own, depth + own
}

// locate adds to a parser's error where in the file it is.
func locate(p *unstable.Parser) error {
	err := p.Error()
	if e, ok := errors.AsType[*unstable.ParserError](err); ok {
		at := p.Shape(p.Range(e.Highlight)).Start
		return fmt.Errorf("row %d, column %d: toml: %w", at.Line, at.Column, err)
	}
	return err
}

// wildDirs counts the directories of a pattern that may be any: each multiplies those that
// are looked into.
func wildDirs(pattern string) (n int) {
	for dir := range strings.SplitSeq(filepath.Dir(pattern), "/") {
		if strings.ContainsAny(dir, "*?[") {
			n++
		}
	}
	return n
}
