// Package lazyregexp compiles regular expressions when they are first used. All system
// pods are one program. Without it, each would compile the expressions of all others
// whenever it starts, and keep them: 200 KB in each of five processes.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns what compiles the expression at its first call. Later calls return the same.
// The first call panics if the expression is not valid.
func New(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
