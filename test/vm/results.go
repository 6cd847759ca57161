package vm

import (
	"strconv"
	"strings"
)

// result is how one package's tests went.
type result struct {
	pkg    string
	ended  bool
	exit   int
	output []string // of the tests, without what the kernel printed
}

// parse reads the frames that test/guest/gotest prints. A package that was
// started and did not end is the one that took the guest down.
func parse(lines []string) (results []result, done bool) {
	for _, line := range lines {
		verb, rest, _ := strings.Cut(strings.TrimPrefix(line, "@@ "), " ")
		if !strings.HasPrefix(line, "@@ ") {
			verb = ""
		}
		last := len(results) - 1
		switch {
		case verb == "start":
			results = append(results, result{pkg: rest})
		case verb == "end" && last >= 0:
			_, code, _ := strings.Cut(rest, " ")
			exit, err := strconv.Atoi(code)
			results[last].exit = exit
			results[last].ended = err == nil
		case verb == "done":
			done = true
		case last >= 0 && strings.HasPrefix(line, "@|"):
			results[last].output = append(results[last].output, strings.TrimPrefix(line[2:], " "))
		}
	}
	return results, done
}
