// Package console understands the serial console of a kiOS node: it tells the
// lines of PID 1, which say what the boot has reached, from those of the kernel
// and the firmware, and prints them for a person to follow.
//
// A line of PID 1 is a record of the kernel's log that begins with "kios: ".
// Lines that it does not know are kept as they are: the console is for people
// first.
package console

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Kind says what a line is about.
type Kind int

const (
	Other     Kind = iota // firmware, or a program that writes to the console
	Kernel                // a line of the kernel
	Version               // the kernel's first line
	Panic                 // the kernel's last words
	PowerDown             // the kernel switches the machine off
	Restart               // the kernel resets the machine
	Step                  // PID 1 has finished Name, which took Took
	Ready                 // the daemon Name is ready
	Started               // a container runs
	Exited                // a container ended with Exit
	Imported              // the image archive Name was imported, which took Took
	Notice                // anything else that PID 1 says, such as the table of the boot
	Problem               // something that PID 1 could not do
)

// Event is what a line says. Fields that its kind does not have are zero.
type Event struct {
	Kind   Kind
	Uptime time.Duration // the kernel's time stamp
	Text   string        // without time stamp and "kios: "

	Name                      string
	Took                      time.Duration
	Namespace, Pod, Container string
	Exit                      int
}

var (
	stamped   = regexp.MustCompile(`^\[ *(\d{1,9}\.\d{1,9})\](?:\[ *[TC]\d+\])? ?(.*)$`)
	version   = regexp.MustCompile(`^Linux version (\S+)`)
	panicking = regexp.MustCompile(`^Kernel panic - not syncing|^BUG: |^Oops: `)
	powerDown = regexp.MustCompile(`^(?:reboot: |ACPI: PM: .*)?(?:Power down|System halted)`)
	restart   = regexp.MustCompile(`^reboot: (?:Restarting system|machine restart)`)

	step     = regexp.MustCompile(`^(?:step (.+?)|(stop .+?))(?: (\d+(?:\.\d+)?) ms)?$`)
	ready    = regexp.MustCompile(`^(\S+) ready$`)
	started  = regexp.MustCompile(`^pod ([^/ ]+)/(\S+) container (\S+) started$`)
	exited   = regexp.MustCompile(`^pod ([^/ ]+)/(\S+) container (\S+) exited(?: with code)? (-?\d+)$`)
	imported = regexp.MustCompile(`^image (\S+) imported(?: (\d+(?:\.\d+)?) ms)?$`)
	row      = regexp.MustCompile(`^ *\d+\.\d{3} s `)

	// The console does not show the level of a record, so problems are known
	// by their words, and by the name of the daemon whose last words they are.
	problem = regexp.MustCompile(`(?i)\b(?:error|warning|fail(?:ed|s|ure)?|cannot|could not|panic|died|killed|ended after|restart \d|refused|broken|corrupt|invalid|ignored|skipped|giving up|timed? out|not used|not kept|kept in memory|is full|read-only|did not)\b|^\w+\| `)
)

// Parse reads one line of the console.
func Parse(line string) Event {
	m := stamped.FindStringSubmatch(line)
	if m == nil {
		return Event{Kind: Other, Text: line}
	}
	e := parseKernel(m[2])
	if said, ok := strings.CutPrefix(m[2], "kios: "); ok {
		e = parseInit(said)
	}
	seconds, _ := strconv.ParseFloat(m[1], 64)
	e.Uptime = time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
	return e
}

func parseKernel(text string) Event {
	switch {
	case version.MatchString(text):
		return Event{Kind: Version, Text: text, Name: version.FindStringSubmatch(text)[1]}
	case panicking.MatchString(text):
		return Event{Kind: Panic, Text: text}
	case powerDown.MatchString(text):
		return Event{Kind: PowerDown, Text: text}
	case restart.MatchString(text):
		return Event{Kind: Restart, Text: text}
	}
	return Event{Kind: Kernel, Text: text}
}

func parseInit(text string) Event {
	e := Event{Kind: Notice, Text: text}
	if m := started.FindStringSubmatch(text); m != nil {
		e.Kind, e.Namespace, e.Pod, e.Container = Started, m[1], m[2], m[3]
	} else if m := exited.FindStringSubmatch(text); m != nil {
		e.Kind, e.Namespace, e.Pod, e.Container = Exited, m[1], m[2], m[3]
		e.Exit, _ = strconv.Atoi(m[4])
	} else if m := imported.FindStringSubmatch(text); m != nil {
		e.Kind, e.Name, e.Took = Imported, m[1], milliseconds(m[2])
	} else if m := ready.FindStringSubmatch(text); m != nil {
		e.Kind, e.Name = Ready, m[1]
	} else if row.MatchString(text) {
		e.Kind = Notice
	} else if problem.MatchString(text) {
		e.Kind = Problem
	} else if m := step.FindStringSubmatch(text); m != nil {
		e.Kind, e.Name, e.Took = Step, m[1]+m[2], milliseconds(m[3])
	}
	return e
}

func milliseconds(text string) time.Duration {
	ms, _ := strconv.ParseFloat(text, 64)
	return time.Duration(ms * float64(time.Millisecond))
}
