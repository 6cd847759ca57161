// Package args reads and changes a command line before the kubelet parses it.
package args

import "strings"

// Value returns the value of the flag --name, in either of its two forms, or "".
func Value(args []string, name string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return v
		}
		if a == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// Without returns args without the flag --name and its value.
func Without(args []string, name string) []string {
	var left []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--"+name {
			i++
		} else if !strings.HasPrefix(args[i], "--"+name+"=") {
			left = append(left, args[i])
		}
	}
	return left
}
