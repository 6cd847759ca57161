// Package console understands the serial console of a kiOS node: it tells the
// lines of PID 1, which say what the boot has reached, from those of the kernel
// and the firmware, and prints them for a person to follow.
//
// A line of PID 1 is a record of the kernel's log that has the form of package
// consoleline. Lines that it does not know are kept as they are: the console is
// for people first.
package console

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"kios/internal/consoleline"
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
	Warning               // a problem that PID 1 has dealt with
	Problem               // something that PID 1 could not do
)

// Event is what a line says. Fields that its kind does not have are zero.
type Event struct {
	Kind   Kind
	Uptime time.Duration // the kernel's time stamp
	Text   string        // without time stamp, "kios: " and the mark of a problem

	Name                      string
	Took                      time.Duration
	Namespace, Pod, Container string
	Exit                      int
}

// The kernel's lines have no form that we could declare. They are recognised by the
// kernel's own texts (init/version.c, kernel/panic.c, kernel/reboot.c).
var (
	stamped   = regexp.MustCompile(`^\[ *(\d{1,9}\.\d{1,9})\](?:\[ *[TC]\d+\])? ?(.*)$`)
	version   = regexp.MustCompile(`^Linux version (\S+)`)
	panicking = regexp.MustCompile(`^Kernel panic - not syncing|^BUG: |^Oops: `)
	powerDown = regexp.MustCompile(`^(?:reboot: |ACPI: PM: .*)?(?:Power down|System halted)`)
	restart   = regexp.MustCompile(`^reboot: (?:Restarting system|machine restart)`)
)

// Parse reads one line of the console.
func Parse(line string) Event {
	m := stamped.FindStringSubmatch(line)
	if m == nil {
		return Event{Kind: Other, Text: line}
	}
	e := parseKernel(m[2])
	if text, ok := strings.CutPrefix(m[2], consoleline.Prefix); ok {
		e = fromInit(text)
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

// kinds are those of PID 1's lines. A step of the shutdown is shown as one of the
// boot is, with "stop" before its name.
var kinds = map[consoleline.Kind]Kind{
	consoleline.Note:     Notice,
	consoleline.Warning:  Warning,
	consoleline.Error:    Problem,
	consoleline.Step:     Step,
	consoleline.Stop:     Step,
	consoleline.Ready:    Ready,
	consoleline.Started:  Started,
	consoleline.Exited:   Exited,
	consoleline.Imported: Imported,
}

// Stops reports whether it says that the node stops: whoever has asked for it need not ask
// again.
func (e Event) Stops() bool {
	return e.Kind == Notice && strings.HasPrefix(e.Text, consoleline.Stopping)
}

func fromInit(text string) Event {
	l := consoleline.Parse(text)
	e := Event{
		Kind: kinds[l.Kind], Text: text, Name: l.Name, Took: l.Took,
		Namespace: l.Namespace, Pod: l.Pod, Container: l.Container, Exit: l.Exit,
	}
	if l.Kind == consoleline.Stop {
		e.Name = "stop " + l.Name
	}
	if l.Text != "" {
		e.Text = l.Text
	}
	return e
}
