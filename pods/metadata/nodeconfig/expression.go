package nodeconfig

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The language of maxPodsExpression is CEL (github.com/google/cel-spec). This is the part
// of it that has to do with whole numbers: arithmetic, comparisons, && || ! and ?:. It
// has CEL's grammar, types, and faults: a number that does not fit into 64 bits, a
// division by zero. upstream/ekstools compares it with CEL itself.

// Bounds of an expression.
const (
	maxExpression = 4096 // bytes
	maxNesting    = 64   // parentheses and ?: within each other
)

// evaluate returns the value of an expression over these names. One that is not a number
// is an error.
func evaluate(text string, names map[string]int64) (int64, error) {
	if len(text) > maxExpression {
		return 0, fmt.Errorf("it has more than %d bytes", maxExpression)
	}
	tokens, err := scan(text)
	if err != nil {
		return 0, err
	}
	p := &parser{tokens: tokens, names: names}
	t, err := p.expression()
	if err == nil && p.peek() != "" {
		err = p.unexpected()
	}
	if err != nil {
		return 0, err
	}
	if t.kind != number {
		return 0, errors.New("it is true or false, and must be a number")
	}
	return t.value()
}

// symbols are the tokens that are neither numbers nor names, longer ones first.
var symbols = []string{"||", "&&", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")"}

// scan splits a text into tokens. A comment reaches from // to the end of its line.
func scan(text string) ([]string, error) {
	var tokens []string
	for {
		text = strings.TrimLeft(text, " \t\r\n\f")
		if text == "" {
			return tokens, nil
		}
		if strings.HasPrefix(text, "//") {
			_, text, _ = strings.Cut(text, "\n")
			continue
		}
		n := tokenLength(text)
		if n == 0 {
			return nil, fmt.Errorf("%.10q has no meaning here", text)
		}
		tokens, text = append(tokens, text[:n]), text[n:]
	}
}

// tokenLength returns the bytes of the token that the text begins with, or 0.
func tokenLength(text string) int {
	if i := slices.IndexFunc(symbols, func(s string) bool { return strings.HasPrefix(text, s) }); i >= 0 {
		return len(symbols[i])
	}
	in := isDigit
	switch {
	case strings.HasPrefix(text, "0x"):
		return 2 + span(text[2:], isHex)
	case !isDigit(text[0]):
		in = isName
	}
	return span(text, in)
}

// span counts the bytes at the start of which each is in a class.
func span(text string, in func(byte) bool) int {
	n := 0
	for n < len(text) && in(text[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNumber(token string) bool { return token != "" && isDigit(token[0]) }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|' ' && c|' ' <= 'f' }

func isName(c byte) bool { return isDigit(c) || c == '_' || 'a' <= c|' ' && c|' ' <= 'z' }

// kind is the type of a value. CEL finds before it computes anything whether types fit.
type kind int

const (
	number kind = iota
	truth       // as 0 and 1
)

// term is a part of an expression.
type term struct {
	kind  kind
	value func() (int64, error)
}

func constant(k kind, n int64) term {
	return term{k, func() (int64, error) { return n, nil }}
}

// operator has two operands of the same kind, which is one of those here.
type operator struct {
	operands []kind
	result   kind // of what it makes of them
	apply    func(a, b term) (int64, error)
}

var (
	numbers = []kind{number}
	truths  = []kind{truth}
	both    = []kind{number, truth}
)

// operators are in the order of their precedence, those that bind least first.
var operators = []map[string]operator{
	{"||": {truths, truth, logical(1)}},
	{"&&": {truths, truth, logical(0)}},
	{
		"<":  {both, truth, compare(func(a, b int64) bool { return a < b })},
		"<=": {both, truth, compare(func(a, b int64) bool { return a <= b })},
		">":  {both, truth, compare(func(a, b int64) bool { return a > b })},
		">=": {both, truth, compare(func(a, b int64) bool { return a >= b })},
		"==": {both, truth, compare(func(a, b int64) bool { return a == b })},
		"!=": {both, truth, compare(func(a, b int64) bool { return a != b })},
	},
	{"+": {numbers, number, strict(add)}, "-": {numbers, number, strict(subtract)}},
	{"*": {numbers, number, strict(multiply)}, "/": {numbers, number, strict(divide)}, "%": {numbers, number, strict(modulo)}},
}

// logical is an operator whose result is decided as soon as one of the operands has this
// value, even if the other one is at fault, whichever comes first.
func logical(decides int64) func(a, b term) (int64, error) {
	return func(a, b term) (int64, error) {
		x, errX := a.value()
		if errX == nil && x == decides {
			return x, nil
		}
		y, errY := b.value()
		if errY == nil && y == decides {
			return y, nil
		}
		return y, errors.Join(errX, errY)
	}
}

// strict is an operator that needs both operands.
func strict(apply func(x, y int64) (int64, error)) func(a, b term) (int64, error) {
	return func(a, b term) (int64, error) {
		x, err := a.value()
		if err != nil {
			return 0, err
		}
		y, err := b.value()
		if err != nil {
			return 0, err
		}
		return apply(x, y)
	}
}

func compare(holds func(x, y int64) bool) func(a, b term) (int64, error) {
	return strict(func(x, y int64) (int64, error) {
		if holds(x, y) {
			return 1, nil
		}
		return 0, nil
	})
}

var (
	errOverflow = errors.New("a number does not fit into 64 bits")
	errZero     = errors.New("it divides by zero")
)

func add(x, y int64) (int64, error) {
	if y > 0 && x > math.MaxInt64-y || y < 0 && x < math.MinInt64-y {
		return 0, errOverflow
	}
	return x + y, nil
}

func subtract(x, y int64) (int64, error) {
	if y < 0 && x > math.MaxInt64+y || y > 0 && x < math.MinInt64+y {
		return 0, errOverflow
	}
	return x - y, nil
}

func multiply(x, y int64) (int64, error) {
	if x == 0 || y == 0 {
		return 0, nil
	}
	// The least number times -1 does not fit, and divided by -1 is itself again.
	if p := x * y; p/y == x && (x != math.MinInt64 || y != -1) && (y != math.MinInt64 || x != -1) {
		return p, nil
	}
	return 0, errOverflow
}

func divide(x, y int64) (int64, error) {
	if err := dividable(x, y); err != nil {
		return 0, err
	}
	return x / y, nil
}

func modulo(x, y int64) (int64, error) {
	if err := dividable(x, y); err != nil {
		return 0, err
	}
	return x % y, nil
}

func dividable(x, y int64) error {
	if y == 0 {
		return errZero
	}
	if x == math.MinInt64 && y == -1 {
		return errOverflow
	}
	return nil
}

// parser makes terms of tokens.
type parser struct {
	tokens []string
	names  map[string]int64
	depth  int
}

// peek returns the next token, "" at the end.
func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

// next takes the next token.
func (p *parser) next() string {
	token := p.peek()
	if token != "" {
		p.tokens = p.tokens[1:]
	}
	return token
}

// accept takes the next token if it is this one.
func (p *parser) accept(token string) bool {
	if p.peek() != token {
		return false
	}
	p.next()
	return true
}

func (p *parser) unexpected() error {
	if p.peek() == "" {
		return errors.New("it ends too early")
	}
	return fmt.Errorf("%.20q has no meaning here", p.peek())
}

// expression is CONDITION, or CONDITION ? CONDITION : EXPRESSION.
func (p *parser) expression() (term, error) {
	if p.depth++; p.depth > maxNesting {
		return term{}, fmt.Errorf("it is nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	condition, err := p.binary(0)
	if err != nil || !p.accept("?") {
		return condition, err
	}
	yes, err := p.binary(0)
	if err != nil {
		return term{}, err
	}
	if !p.accept(":") {
		return term{}, p.unexpected()
	}
	no, err := p.expression()
	if err != nil {
		return term{}, err
	}
	return choice(condition, yes, no)
}

func choice(condition, yes, no term) (term, error) {
	if condition.kind != truth || yes.kind != no.kind {
		return term{}, errors.New("?: wants a condition and two values of the same type")
	}
	return term{yes.kind, func() (int64, error) {
		c, err := condition.value()
		if err != nil {
			return 0, err
		}
		if c == 1 {
			return yes.value()
		}
		return no.value()
	}}, nil
}

// binary is a chain of operators of one level, from left to right.
func (p *parser) binary(level int) (term, error) {
	if level == len(operators) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	for err == nil {
		op, found := operators[level][p.peek()]
		if !found {
			break
		}
		name := p.next()
		var right term
		if right, err = p.binary(level + 1); err == nil {
			left, err = op.term(name, left, right)
		}
	}
	return left, err
}

func (o operator) term(name string, a, b term) (term, error) {
	if a.kind != b.kind || !slices.Contains(o.operands, a.kind) {
		return term{}, fmt.Errorf("%s is between values of types for which it has no meaning", name)
	}
	return term{o.result, func() (int64, error) { return o.apply(a, b) }}, nil
}

// unary is a value with signs before it, which are all of one kind.
func (p *parser) unary() (term, error) {
	sign := p.peek()
	if sign != "-" && sign != "!" || p.negative() {
		return p.value()
	}
	signs := 0
	for p.accept(sign) {
		signs++
	}
	t, err := p.value()
	if err != nil || signs%2 == 0 {
		return t, err // CEL looks at no type, either: two signs are none
	}
	switch {
	case sign == "-" && t.kind == number:
		return term{number, func() (int64, error) { return strict(subtract)(constant(number, 0), t) }}, nil
	case sign == "!" && t.kind == truth:
		return term{truth, func() (int64, error) { return strict(subtract)(constant(truth, 1), t) }}, nil
	}
	return term{}, fmt.Errorf("%s is before a value of a type for which it has no meaning", sign)
}

// negative reports whether a minus and a number are next. The minus belongs to the number,
// so that the least one fits.
func (p *parser) negative() bool {
	return len(p.tokens) > 1 && p.tokens[0] == "-" && isNumber(p.tokens[1])
}

// value is a number, a name, or an expression in parentheses.
func (p *parser) value() (term, error) {
	token := p.peek()
	n, known := p.names[token]
	switch {
	case p.negative():
		p.next()
		return literal("-", p.next())
	case isNumber(token):
		return literal("", p.next())
	case token == "(":
		return p.parenthesised()
	case token == "true" || token == "false":
		p.next()
		return constant(truth, int64(len("false")-len(token))), nil
	case known:
		p.next()
		return constant(number, n), nil
	}
	return term{}, p.unexpected()
}

func (p *parser) parenthesised() (term, error) {
	p.next()
	t, err := p.expression()
	if err == nil && !p.accept(")") {
		err = p.unexpected()
	}
	return t, err
}

func literal(sign, digits string) (term, error) {
	base := 10
	if rest, hex := strings.CutPrefix(digits, "0x"); hex {
		digits, base = rest, 16
	}
	n, err := strconv.ParseInt(sign+digits, base, 64)
	if err != nil {
		return term{}, fmt.Errorf("the number %.30s: %w", digits, errOverflow)
	}
	return constant(number, n), nil
}
