package cloudconfig

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/bounded"
)

var (
	// header is the line that makes a template of a text; see cloud-init, instance data.
	header = lazyregexp.New(`^(?:\x{feff})?\s*##\s*(?i:template):\s*(\S+)[^\n]*\n?`)
	// reference is a name of instance data, as a.b, a.b["c"] and a.b[0], and what is done to it.
	reference = lazyregexp.New(`^\{\{-?\s*([A-Za-z_]\w*(?:\.\w+|\[(?:"[^"\n\]]*"|'[^'\n\]]*'|\d+)\])*)((?:\.\w+\([^()\n]*\)(?:\[\d+\])?|\s*\|\s*\w+(?:\([^()\n]*\))?)*)\s*-?\}\}`)
	// operation is one of the things that are done to a name.
	operation = lazyregexp.New(`[.|]\s*(\w+)(?:\(\s*(?:"([^"]*)"|'([^']*)')?\s*\))?(?:\[(\d+)\])?`)
	// literal is a text of the template itself, by which braces are written.
	literal = lazyregexp.New(`^\{\{-?\s*(?:"([^"\n]*)"|'([^'\n]*)')\s*-?\}\}`)
	// subscript is the other spelling of .name.
	subscript = lazyregexp.New(`\[["']?([^\]"']*)["']?\]`)
	// raw stays as it is, and a comment is left out. The end of their line goes with them.
	raw     = lazyregexp.New(`^\{%[-+]?\s*raw\s*[-+]?%\}((?s:.*?))\{%[-+]?\s*endraw\s*[-+]?%\}\n?`)
	comment = lazyregexp.New(`^\{#(?s:.*?)#\}\n?`)
)

// render fills in the names of a template. A name that nobody knows is an error, where
// jinja has a text for it that names no machine.
func render(text []byte, values map[string]string) ([]byte, error) {
	m := header().FindSubmatch(text)
	if m == nil {
		return text, nil
	}
	if !strings.EqualFold(string(m[1]), "jinja") {
		return nil, fmt.Errorf("it is a template of the kind %.60q: only jinja is read", m[1])
	}
	t := template{rest: string(text[len(m[0]):]), values: values}
	for t.next() {
	}
	return []byte(t.out.String()), t.err
}

// template is one that is being filled in.
type template struct {
	rest   string
	values map[string]string
	out    strings.Builder
	err    error
}

// next fills in the first name that is left, and reports whether there may be more.
func (t *template) next() bool {
	i := strings.Index(t.rest, "{")
	if i < 0 || i+1 == len(t.rest) {
		t.out.WriteString(t.rest)
		return false
	}
	t.out.WriteString(t.rest[:i])
	t.rest = t.rest[i:]
	switch t.rest[1] {
	case '{':
		return t.name()
	case '%', '#':
		return t.block()
	}
	t.out.WriteByte('{')
	t.rest = t.rest[1:]
	return true
}

// block takes what is between {% raw %} and {% endraw %} as it is, and leaves out a comment.
func (t *template) block() bool {
	m := raw().FindStringSubmatchIndex(t.rest)
	if m == nil {
		m = comment().FindStringSubmatchIndex(t.rest)
	}
	if m == nil {
		return t.fail()
	}
	if len(m) > 2 {
		t.out.WriteString(t.rest[m[2]:m[3]])
	}
	t.rest = t.rest[m[1]:]
	return true
}

func (t *template) fail() bool {
	t.err = fmt.Errorf("%.40q: of jinja, only names are read, as {{ ds.meta_data.local_hostname }}, with .split(\".\")[0], lower, upper, trim and default, and {%% raw %%}", t.rest)
	return false
}

// name fills in the name that comes first.
func (t *template) name() bool {
	if m := literal().FindStringSubmatch(t.rest); m != nil {
		t.out.WriteString(m[1] + m[2])
		t.rest = t.rest[len(m[0]):]
		return true
	}
	m := reference().FindStringSubmatch(t.rest)
	if m == nil {
		return t.fail()
	}
	name := subscript().ReplaceAllString(m[1], ".$1")
	value, found := t.lookup(name)
	for _, op := range operation().FindAllStringSubmatch(m[2], -1) {
		known := false
		if value, found, known = operate(op, value, found); !known {
			return t.fail()
		}
	}
	if !found {
		t.err = fmt.Errorf("this machine has no %.100q, which the template asks for", name)
		return false
	}
	t.out.WriteString(value)
	t.rest = t.rest[len(m[0]):]
	if t.out.Len() > bounded.MaxText {
		t.err = errors.New("the template becomes too long")
	}
	return t.err == nil
}

// operate does one thing to a value, if it is known: a method of a text, or a filter.
func operate(op []string, value string, found bool) (result string, stays, known bool) {
	argument := op[2] + op[3]
	switch op[1] {
	case "lower":
		return strings.ToLower(value), found, true
	case "upper":
		return strings.ToUpper(value), found, true
	case "trim", "strip":
		return strings.TrimSpace(value), found, true
	case "default":
		if !found {
			return argument, true, true
		}
		return value, true, true
	case "split":
		return piece(value, argument, op[4], found)
	}
	return "", false, false
}

// piece is one of those that a text is split into. One that is not there names no machine.
func piece(value, separator, index string, found bool) (result string, stays, known bool) {
	i, err := strconv.Atoi(index)
	if err != nil || separator == "" {
		return "", false, false
	}
	pieces := strings.Split(value, separator)
	if i >= len(pieces) {
		return "", false, true
	}
	return pieces[i], found, true
}

// lookup finds a value. Names have _ where cloud-init's sources have -.
func (t *template) lookup(name string) (string, bool) {
	value, found := t.values[name]
	if !found {
		value, found = t.values[strings.ReplaceAll(name, "-", "_")]
	}
	return value, found
}
