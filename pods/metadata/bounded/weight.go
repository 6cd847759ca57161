package bounded

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	goyaml "go.yaml.in/yaml/v2"
)

// maxWeight is how much a text may weigh. The parsers take up to 300 bytes for each of it.
const maxWeight = 120_000

// checkSize refuses a text before a parser makes something large of it.
func checkSize(text []byte) error {
	if len(text) > MaxText {
		return errLong(text)
	}
	if weight(text) > maxWeight {
		return errors.New("it has too many fields and items of lists: send less, or pack files that are YAML or JSON with gzip and base64")
	}
	return nil
}

// weight is at least what the values in a text of YAML or JSON take, in units of an item of
// a list. It looks at the signs between values, also at those in texts, where they are none:
// to tell them apart takes a parser.
func weight(text []byte) (n int) {
	last := byte('\n')
	for i, c := range text {
		next := byte('\n')
		if i+1 < len(text) {
			next = text[i+1]
		}
		n += weightOf(last, c, next)
		last = c
	}
	return n
}

// weightOf is that of a sign between two others. A field may be the only one of a map, which
// takes as much as several items.
func weightOf(last, c, next byte) int {
	ends := next <= ' ' || next >= 0x80 // YAML has white space that is not ASCII
	switch c {
	case ',', '[':
		return 1
	case '{':
		return 2
	case ':':
		if ends || bytes.IndexByte([]byte(`"'[]{},&*!`), next) >= 0 || bytes.IndexByte([]byte(`"']}`), last) >= 0 {
			return 4
		}
	case '-':
		if ends && (last <= ' ' || last >= 0x80) {
			return 1
		}
	case '?': // before a key whose value may be left out
		if ends {
			return 4
		}
	}
	return 0
}

// maxValues are those of a text with aliases, with those that aliases stand for.
const maxValues = 32 << 10

var errAliases = fmt.Errorf("its values, with those that YAML aliases stand for, are more than %d: write out what *NAME stands for, or send less", maxValues)

// counting is for one text after the other: a value that is decoded knows nothing of others.
var counting struct {
	sync.Mutex
	left int
}

// checkAliases counts the values of a text as they are decoded, and keeps none of them.
func checkAliases(text []byte) error {
	if bytes.IndexByte(text, '&') < 0 || bytes.IndexByte(text, '*') < 0 {
		return nil
	}
	counting.Lock()
	defer counting.Unlock()
	counting.left = maxValues
	if err := goyaml.Unmarshal(text, new(counted)); err == errAliases {
		return err
	}
	return nil // another error comes again
}

// counted is a value of which nothing is kept.
type counted struct{}

// UnmarshalYAML counts the value, and those in it.
func (*counted) UnmarshalYAML(decode func(any) error) error {
	if counting.left--; counting.left < 0 {
		return errAliases
	}
	err := decode(new([]counted))
	if isTypeError(err) {
		err = decode(new(map[any]counted))
	}
	if isTypeError(err) {
		return nil // it is no list, and no map
	}
	return err
}

func isTypeError(err error) bool {
	_, is := errors.AsType[*goyaml.TypeError](err)
	return is
}
