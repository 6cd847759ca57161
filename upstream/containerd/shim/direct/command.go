package direct

import "strconv"

// command is a command line of runc:
//
//	runc --root DIR --log FILE [OPTION]... VERB [OPTION]... ID [SIGNAL]
type command struct {
	verb, id        string
	root, log       string
	bundle, pidFile string // create
	signal          int    // kill
	all             bool   // kill
}

// parse reads the command lines that go-runc writes for the shim. It returns
// false for those that say more than a command holds.
func parse(args []string) (c command, ok bool) {
	if len(args) == 0 {
		return c, false
	}
	var format string
	rest, ok := options(args[1:], map[string]*string{"--root": &c.root, "--log": &c.log, "--log-format": &format}, "--systemd-cgroup", "--debug")
	if !ok || len(rest) == 0 || c.root == "" || c.log == "" {
		return c, false
	}
	c.verb = rest[0]
	ok = c.parseVerb(rest[1:])
	return c, ok
}

// parseVerb reads what comes after the verb.
func (c *command) parseVerb(rest []string) (ok bool) {
	var format string
	want := 1 // arguments
	ok = true
	switch c.verb {
	case "create":
		rest, ok = options(rest, map[string]*string{"--bundle": &c.bundle, "--pid-file": &c.pidFile})
		ok = ok && c.bundle != "" && c.pidFile != ""
	case "kill":
		if c.all = len(rest) > 0 && rest[0] == "--all"; c.all {
			rest = rest[1:]
		}
		want = 2
	case "delete":
		rest, ok = options(rest, nil, "--force")
	case "ps":
		rest, ok = options(rest, map[string]*string{"--format": &format})
	case "start":
	default:
		return false
	}
	if !ok || len(rest) != want || rest[0] == "" || rest[0][0] == '-' {
		return false
	}
	c.id = rest[0]
	if c.verb == "kill" {
		var err error
		c.signal, err = strconv.Atoi(rest[1])
		ok = err == nil
	}
	return ok
}

// options takes known options from the front of args. It returns false if one
// of them lacks its value.
func options(args []string, values map[string]*string, flags ...string) (rest []string, ok bool) {
	known := map[string]bool{}
	for _, f := range flags {
		known[f] = true
	}
	for len(args) > 0 {
		value, takes := values[args[0]]
		switch {
		case takes && len(args) > 1:
			*value, args = args[1], args[2:]
		case takes:
			return args, false
		case known[args[0]]:
			args = args[1:]
		default:
			return args, true
		}
	}
	return args, true
}
