package systembus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kios/init/dbuswire"
)

// rule says which signals a client wants. See "Match Rules" in the D-Bus
// Specification.
type rule struct {
	text  string
	tests []func(m *dbuswire.Message, from *service) bool
}

func (r rule) matches(m *dbuswire.Message, from *service) bool {
	for _, t := range r.tests {
		if !t(m, from) {
			return false
		}
	}
	return true
}

// parseRule reads a rule such as type='signal',member='PrepareForShutdown'.
func parseRule(text string) (rule, error) {
	r := rule{text: text}
	if len(text) > maxRule {
		return r, fmt.Errorf("the rule is longer than %d bytes", maxRule)
	}
	for rest := text; strings.TrimLeft(rest, " ,") != ""; {
		key, value, after, err := splitRule(strings.TrimLeft(rest, " ,"))
		if err != nil {
			return r, err
		}
		test, err := ruleTest(key, value)
		if err != nil {
			return r, err
		}
		if test != nil {
			r.tests = append(r.tests, test)
		}
		rest = after
	}
	return r, nil
}

// splitRule takes KEY=VALUE from the front. Within quotes a value is taken as
// it is; outside of them \' is a quote.
func splitRule(text string) (key, value, rest string, err error) {
	key, text, found := strings.Cut(text, "=")
	if !found {
		return "", "", "", errors.New("a rule is KEY='VALUE', with commas between")
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
			b.WriteByte(c)
		case c == ',':
			return strings.TrimSpace(key), b.String(), text[i+1:], nil
		case c == '\\' && i+1 < len(text) && text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", "", errors.New("a quote is not closed")
	}
	return strings.TrimSpace(key), b.String(), "", nil
}

type ruleFunc = func(m *dbuswire.Message, from *service) bool

// ruleTest returns what one KEY=VALUE demands, or nil for nothing.
func ruleTest(key, value string) (ruleFunc, error) {
	switch key {
	case "type":
		return typeTest(value)
	case "sender":
		return func(_ *dbuswire.Message, from *service) bool { return value == from.name || value == from.unique }, nil
	case "interface":
		return func(m *dbuswire.Message, _ *service) bool { return m.Interface == value }, nil
	case "member":
		return func(m *dbuswire.Message, _ *service) bool { return m.Member == value }, nil
	case "path":
		return func(m *dbuswire.Message, _ *service) bool { return string(m.Path) == value }, nil
	case "path_namespace":
		return func(m *dbuswire.Message, _ *service) bool { return isOrBelow(string(m.Path), value, "/") }, nil
	case "destination":
		return func(m *dbuswire.Message, _ *service) bool { return m.Destination == value }, nil
	case "eavesdrop":
		return nil, nil
	}
	return argTest(key, value)
}

func typeTest(value string) (ruleFunc, error) {
	types := map[string]dbuswire.Type{
		"signal": dbuswire.Signal, "method_call": dbuswire.Call, "method_return": dbuswire.Return, "error": dbuswire.Fault,
	}
	want, ok := types[value]
	if !ok {
		return nil, fmt.Errorf("%q is no type of message", value)
	}
	return func(m *dbuswire.Message, _ *service) bool { return m.Type == want }, nil
}

// argTest handles argN, argNpath and arg0namespace.
func argTest(key, value string) (ruleFunc, error) {
	rest, found := strings.CutPrefix(key, "arg")
	digits := strings.TrimRight(rest, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseUint(digits, 10, 8)
	kind := rest[len(digits):]
	if !found || err != nil || n > 63 || kind != "" && kind != "path" && (kind != "namespace" || n != 0) {
		return nil, fmt.Errorf("%q is no key of a rule", key)
	}
	return func(m *dbuswire.Message, _ *service) bool {
		if int(n) >= len(m.Body) {
			return false
		}
		text, isText := m.Body[n].(string)
		path, isPath := m.Body[n].(dbuswire.ObjectPath)
		switch kind {
		case "path":
			got := text + string(path)
			return (isText || isPath) && (got == value || strings.HasSuffix(got, "/") && strings.HasPrefix(value, got) ||
				strings.HasSuffix(value, "/") && strings.HasPrefix(got, value))
		case "namespace":
			return isText && isOrBelow(text, value, ".")
		}
		return isText && text == value
	}, nil
}

// isOrBelow reports whether a name is another one, or one below it.
func isOrBelow(name, parent, separator string) bool {
	return name == parent || strings.HasPrefix(name, strings.TrimSuffix(parent, separator)+separator)
}
