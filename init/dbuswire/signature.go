package dbuswire

import (
	"errors"
	"fmt"
	"strings"
)

// maxDepth bounds how deep types nest. The specification allows 64; nothing
// that PID 1 serves needs more than 5.
const maxDepth = 32

// basic are the types that may be the key of a dictionary.
const basic = "ybnqiuxtdsogh"

var errDepth = errors.New("types nest too deep")

// next splits the first complete type off a signature.
func (s Signature) next(depth int) (one, rest Signature, err error) {
	if s == "" {
		return "", "", errors.New("a type is missing in a signature")
	}
	if depth > maxDepth {
		return "", "", errDepth
	}
	if len(s) > 255 {
		return "", "", errors.New("a signature is longer than 255 bytes")
	}
	size := 1
	switch c := s[0]; {
	case strings.IndexByte(basic, c) >= 0, c == 'v':
	case c == 'a':
		element := s[1:]
		if strings.HasPrefix(string(element), "{") {
			size, err = element.entry(depth + 1)
		} else {
			var one Signature
			one, _, err = element.next(depth + 1)
			size = len(one)
		}
		size++
	case c == '(':
		size, err = s.structure(depth + 1)
	default:
		err = fmt.Errorf("%q is no type", c)
	}
	if err != nil {
		return "", "", err
	}
	return s[:size], s[size:], nil
}

// structure returns the size of the struct that s begins with.
func (s Signature) structure(depth int) (int, error) {
	rest := s[1:]
	for !strings.HasPrefix(string(rest), ")") {
		var err error
		if _, rest, err = rest.next(depth); err != nil {
			return 0, err
		}
	}
	if len(rest) == len(s)-1 {
		return 0, errors.New("a struct is empty")
	}
	return len(s) - len(rest) + 1, nil
}

// entry returns the size of the entry of a dictionary that s begins with.
func (s Signature) entry(depth int) (int, error) {
	if len(s) < 2 || strings.IndexByte(basic, s[1]) < 0 {
		return 0, errors.New("the key of a dictionary is of no basic type")
	}
	_, rest, err := s[2:].next(depth)
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(string(rest), "}") {
		return 0, errors.New("the entry of a dictionary does not end")
	}
	return len(s) - len(rest) + 1, nil
}

// inner returns the types within a struct or the entry of a dictionary.
func (s Signature) inner() Signature { return s[1 : len(s)-1] }

// check demands a sequence of complete types.
func (s Signature) check() error {
	for rest := s; rest != ""; {
		var err error
		if _, rest, err = rest.next(0); err != nil {
			return err
		}
	}
	return nil
}

// alignment returns what the offset of a value of the type is a multiple of.
func (s Signature) alignment() int {
	switch s[0] {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

// check demands the grammar of object paths.
func (p ObjectPath) check() error {
	if p == "/" {
		return nil
	}
	rest, found := strings.CutPrefix(string(p), "/")
	if !found {
		return errors.New("an object path does not begin with /")
	}
	for element := range strings.SplitSeq(rest, "/") {
		if element == "" || strings.IndexFunc(element, notInElement) >= 0 {
			return errors.New("an object path has an element that is empty or has other characters than letters, digits and _")
		}
	}
	return nil
}

func notInElement(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// Split returns the complete types of a signature, as far as it is sound.
func (s Signature) Split() []Signature {
	var all []Signature
	for rest := s; rest != ""; {
		one, after, err := rest.next(0)
		if err != nil {
			return all
		}
		all, rest = append(all, one), after
	}
	return all
}
