package nodeconfig

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// The file is upstream/ekstools', with what CEL makes of each expression.
//
//go:generate go run -C ../../../upstream/ekstools . expressions ../../pods/metadata/nodeconfig/testdata/expressions.txt
func TestExpressionsAsCEL(t *testing.T) {
	file := "testdata/expressions.txt"
	if more := os.Getenv("EXPRESSIONS"); more != "" {
		file = more
	}
	n := 0
	for line := range strings.Lines(lab.ReadFile(t, file)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5)
		text, err := strconv.Unquote(fields[4])
		lab.Must(t, err)
		n++
		if got := value(text, fields[:3]); got != fields[3] {
			t.Errorf("%s with %v = %s, want %s", fields[4], fields[:3], got, fields[3])
		}
	}
	if n < 300 {
		t.Errorf("%s has %d expressions", file, n)
	}
}

func value(text string, names []string) string {
	values := map[string]int64{}
	for i, name := range []string{"default_enis", "ips_per_eni", "max_pods"} {
		values[name], _ = strconv.ParseInt(names[i], 10, 64)
	}
	n, err := evaluate(text, values)
	if err != nil {
		return "error"
	}
	return strconv.FormatInt(n, 10)
}

// CEL has more than this part of it, and users learn that it is not here.
func TestExpressionsThatAreNotHere(t *testing.T) {
	tests := []struct{ text, want string }{
		{"int(double(max_pods) * 0.9)", "has no meaning here"},
		{"max_pods.foo", "has no meaning here"},
		{"1e3", "has no meaning here"},
		{"42u", "has no meaning here"},
		{`size("abc")`, "has no meaning here"},
		{"true", "must be a number"},
		{"max_pods +", "ends too early"},
		{"1 / 0", "divides by zero"},
		{"9223372036854775807 + 1", "64 bits"},
		{"max_pods < 3 ? 1 : true", "same type"},
		{strings.Repeat("1+", 3000) + "1", "more than 4096 bytes"},
		{strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000), "more than 64 deep"},
		{strings.Repeat("true?1:", 500) + "1", "more than 64 deep"},
	}
	for _, tt := range tests {
		if n, err := evaluate(tt.text, map[string]int64{"max_pods": 29}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q = %d, %v, want an error with %q", tt.text, n, err, tt.want)
		}
	}
}

// A chain of the greatest length is computed, and at once.
func TestLongExpression(t *testing.T) {
	start := time.Now()
	n, err := evaluate(strings.Repeat("1+", 2000)+"1", nil)
	if err != nil || n != 2001 || time.Since(start) > 5*time.Second {
		t.Errorf("%d, %v after %s", n, err, time.Since(start))
	}
}

func FuzzEvaluate(f *testing.F) {
	for _, text := range []string{"max_pods < 30 ? max_pods : 30", "!(--1 <= 2) || true && 0x1F % -2 == 1 ? 1 : 2 // x", "((1)", "-9223372036854775808 / -1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := evaluate(text, map[string]int64{"max_pods": 29})
		// White space means nothing, but to comments.
		if !strings.Contains(text, "/") {
			m, err2 := evaluate(strings.ReplaceAll(text, " ", "\t"), map[string]int64{"max_pods": 29})
			if n != m || (err == nil) != (err2 == nil) {
				t.Errorf("%q = %d, %v, and with tabs %d, %v", text, n, err, m, err2)
			}
		}
	})
}
