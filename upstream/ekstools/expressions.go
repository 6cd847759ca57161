package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
)

// chosen are expressions of nodeadm's documentation, and those at the edges of the
// language.
var chosen = []string{
	"max_pods", "max_pods + 2", "max_pods < 30 ? max_pods : 30", "((default_enis - 3) * (ips_per_eni - 1)) + 2",
	"(default_enis * ((ips_per_eni - 1) * 16)) + 2", "((default_enis * ((ips_per_eni * 16) - 1)) + 2) < 30 ? 1 : 30",
	"417", "-1", "0", "007", "0x1F", "0xg", "0x", "1e", "", " ", "\t42\t", "// all\t", "42 // the answer", "/ 2",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "- 9223372036854775808", "--9223372036854775808",
	"-(-9223372036854775808)", "9223372036854775807 + 1", "-9223372036854775808 - 1", "-9223372036854775808 / -1",
	"-9223372036854775808 % -1", "4611686018427387904 * 2", "4611686018427387904 * -2", "-9223372036854775808 * -1",
	"-1 * -9223372036854775808", "3037000500 * 3037000500", "7 / 2", "-7 / 2", "-7 % 2", "7 % -2", "1 / 0", "1 % 0",
	"1 - 1 - 1", "2 - 3 * 4", "8 / 4 / 2", "8 / (4 / 2)", "2 * 3 % 4", "1 -1", "1--1", "1 - -1", "1---1", "--5", "---5", "-(5)",
	"!true", "!!true ? 1 : 2", "!!5", "!5", "--true ? 1 : 2", "-true", "!-5", "-!true", "true", "false ? 1 : 2", "True",
	"1 < 2 ? 3 : 4", "1 < 2 < 3", "1 < 2 == true ? 3 : 4", "1 == 1 == true ? 5 : 6", "true < false ? 1 : 2", "true == 1", "1 = 1", "1 <> 2",
	"true ? 1 : true", "1 ? 2 : 3", "true ? 1", "true ? false ? 1 : 2 : 3", "true ? (false ? 1 : 2) : 3", "false ? 1 : true ? 2 : 3",
	"true ? 1 : 1 / 0", "false ? 1 : 1 / 0", "1 / 0 > 0 || true ? 1 : 2", "true || 1 / 0 > 0 ? 1 : 2", "1 / 0 > 0 && false ? 1 : 2",
	"1 / 0 > 0 && true ? 1 : 2", "1 / 0 > 0 || false ? 1 : 2", "false || 1 / 0 > 0 || true ? 1 : 2", "1 / 0 > 0 || 1 / 0 > 0 ? 1 : 2",
	"true && 1", "1 || true", "true || 1 == true", "a && b", "fake_variable", "99 - fake_variable", "max_pods2", "_max_pods",
	"(1", "1)", "()", "(((((1)))))", "1 +", "+ 1", "1 2", "1 + + 1", "max_pods max_pods", "1 & 2", "1 | 2", "1 && 2", "$", "1;", "\u00b2",
	"max_pods >= 17 && ips_per_eni != 6 || default_enis == 3 ? max_pods * 2 : 1", "max_pods % 2 == 0 ? max_pods : max_pods - 1",
}

// expressions has a line for each expression, with the values of the three names, and
// what CEL computes, or "error".
func expressions() (string, error) {
	c, err := newCEL()
	if err != nil {
		return "", err
	}
	r := rand.New(rand.NewPCG(1, 2))
	texts := chosen
	for range randomOnes() {
		texts = append(texts, (&writer{r: r}).text())
	}
	var out strings.Builder
	for _, text := range texts {
		enis, ips := 1+r.IntN(15), 2+r.IntN(49)
		pods := enis*(ips-1) + 2
		fmt.Fprintf(&out, "%d\t%d\t%d\t%s\t%s\n", enis, ips, pods, c.evaluate(text, enis, ips, pods), strconv.Quote(text))
	}
	return out.String(), nil
}

// randomOnes is how many expressions are random: few enough for a file of the sources,
// or for once as many as somebody wants.
func randomOnes() int {
	if n, err := strconv.Atoi(os.Getenv("EXPRESSIONS")); err == nil {
		return n
	}
	return 300
}

// writer writes random expressions.
type writer struct{ r *rand.Rand }

// text returns one that is a number if types fit and nothing was lost.
func (w *writer) text() string {
	tokens := strings.Fields(w.number(4))
	if w.r.IntN(8) == 0 { // something is missing
		i := w.r.IntN(len(tokens))
		tokens = append(tokens[:i:i], tokens[i+1:]...)
	}
	return strings.Join(tokens, w.pick("", " ", "\t"))
}

func (w *writer) pick(choices ...string) string { return choices[w.r.IntN(len(choices))] }

func (w *writer) number(depth int) string {
	if depth == 0 || w.r.IntN(6) == 0 {
		return w.pick("default_enis", "ips_per_eni", "max_pods", "0", "1", "2", "3", "16", "110", "0x10", "-1", "- 7", "4611686018427387904",
			"9223372036854775807", "-9223372036854775808", "true")
	}
	x, y := w.number(depth-1), w.number(depth-1)
	switch w.r.IntN(6) {
	case 0:
		return "( " + x + " )"
	case 1:
		return w.pick("- ", "- - ", "! ") + x
	case 2:
		return w.truth(depth-1) + " ? " + x + " : " + y
	}
	return x + w.pick(" + ", " - ", " * ", " / ", " % ") + y
}

func (w *writer) truth(depth int) string {
	if depth == 0 {
		return w.pick("true", "false", "max_pods > 30")
	}
	switch w.r.IntN(5) {
	case 0:
		return "( " + w.truth(depth-1) + " )"
	case 1:
		return w.pick("! ", "! ! ") + w.truth(depth-1)
	case 2:
		return w.truth(depth-1) + w.pick(" && ", " || ", " == ", " < ") + w.truth(depth-1)
	}
	return w.number(depth-1) + w.pick(" < ", " <= ", " > ", " >= ", " == ", " != ") + w.number(depth-1)
}

// oracle is CEL as nodeadm has it.
type oracle struct{ env *cel.Env }

func newCEL() (*oracle, error) {
	env, err := cel.NewEnv(cel.Variable("default_enis", cel.IntType), cel.Variable("ips_per_eni", cel.IntType), cel.Variable("max_pods", cel.IntType))
	return &oracle{env}, err
}

func (o *oracle) evaluate(text string, enis, ips, pods int) string {
	ast, issues := o.env.Compile(text)
	if issues.Err() != nil {
		return "error"
	}
	program, err := o.env.Program(ast)
	if err != nil {
		return "error"
	}
	value, _, err := program.Eval(map[string]any{"default_enis": enis, "ips_per_eni": ips, "max_pods": pods})
	if err != nil {
		return "error"
	}
	if n, ok := value.ConvertToType(cel.IntType).Value().(int64); ok {
		return strconv.FormatInt(n, 10)
	}
	return "error"
}
