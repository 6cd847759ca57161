// Package cmdline reads the kernel command line: it splits it as the kernel
// does (see parse_args in the kernel's kernel/params.c) and takes from it the
// few words that PID 1 obeys. Words that it does not know are left to their
// owners; a word of ours with a bad value is answered with a warning and the
// default, because a node that is up can be corrected and one that is not
// cannot.
package cmdline

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kios/internal/gpt"
)

// Param is one word of the command line. A word without "=" has no value.
type Param struct {
	Key, Value string
	HasValue   bool
}

// Params are the words in the order in which they were given.
type Params []Param

// Parse splits a command line at white space. Double quotes protect white
// space, either around the value (key="a b") or around the word ("key=a b"),
// and are removed. There is no escape for a quote, as in the kernel.
func Parse(line string) Params {
	var params Params
	for {
		line = strings.TrimLeft(line, " \t\n\r")
		if line == "" {
			return params
		}
		end := wordEnd(line)
		params = append(params, parseWord(line[:end]))
		line = line[end:]
	}
}

// wordEnd returns the index of the first white space outside of quotes.
func wordEnd(s string) int {
	quoted := false
	for i := range len(s) {
		switch s[i] {
		case '"':
			quoted = !quoted
		case ' ', '\t', '\n', '\r':
			if !quoted {
				return i
			}
		}
	}
	return len(s)
}

func parseWord(word string) Param {
	if strings.HasPrefix(word, `"`) {
		word = strings.TrimSuffix(word[1:], `"`)
	}
	key, value, hasValue := strings.Cut(word, "=")
	if strings.HasPrefix(value, `"`) {
		value = strings.TrimSuffix(value[1:], `"`)
	}
	return Param{Key: key, Value: value, HasValue: hasValue}
}

// Last returns the value of the last word with the given key, since a later
// word overrides an earlier one. Like the kernel it takes - and _ as equal.
func (p Params) Last(key string) (value string, found bool) {
	for _, param := range p {
		if Same(param.Key, key) {
			value, found = param.Value, true
		}
	}
	return value, found
}

// Same reports whether two keys are one to the kernel, which takes - and _ as
// equal.
func Same(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}

// Options is what PID 1 obeys.
type Options struct {
	// DataPart is the data partition: "auto" to look for one by its GPT type,
	// "none" for none, the path of a device in /dev, or PARTUUID= and the GUID of a
	// partition.
	DataPart string
	// Disk is the disk on which a data partition may be made, a path in /dev, or "auto"
	// for the one that is blank; "" if none is named.
	Disk string
	// StopAfter bounds how long each container may take to end after SIGTERM.
	StopAfter time.Duration
	// StayUp is set by panic=0: a machine that cannot go on is then kept as it
	// is, to be looked at, instead of being restarted.
	StayUp bool
	// Watchdog is after how long the machine's watchdog resets a machine that hangs;
	// 0 leaves the watchdog alone.
	Watchdog time.Duration
}

// Defaults are the Options of an empty command line.
var Defaults = Options{DataPart: "auto", StopAfter: 30 * time.Second, Watchdog: 2 * time.Minute}

// minWatchdog is the least that a busy machine needs to feed its watchdog in time.
const minWatchdog = 30 * time.Second

// maxStop keeps a typing error from turning a power-off into a day's wait.
const maxStop = time.Hour

// Options returns what the command line asks for, and a sentence for each
// word that is ours and makes no sense, which then counts as not given.
func (p Params) Options() (Options, []string) {
	opts, warnings := Defaults, []string(nil)
	for _, param := range p {
		if err := opts.apply(param); err != nil {
			warnings = append(warnings, "kernel command line: "+err.Error())
		}
	}
	return opts, warnings
}

func (o *Options) apply(p Param) error {
	switch {
	case p.Key == "datapart":
		return o.setDataPart(p.Value)
	case p.Key == "kios.stop":
		return o.setStop(p.Value)
	case p.Key == "kios.watchdog":
		return o.setWatchdog(p.Value)
	case p.Key == "panic":
		seconds, err := strconv.Atoi(p.Value)
		o.StayUp = err == nil && seconds == 0
	case p.Key == "kios.disk": // the pod disk says what is wrong with it
		o.Disk = p.Value
	case p.Key == "kios.config" || p.Key == "kios.config.sha256": // likewise the pod metadata
	case strings.HasPrefix(p.Key, "kios."):
		return fmt.Errorf("%s is not an option of this version and is ignored (there are kios.stop=SECONDS, kios.watchdog=SECONDS, kios.disk=DEVICE and kios.config=URL)", p.Key)
	}
	return nil
}

func (o *Options) setDataPart(value string) error {
	device := strings.HasPrefix(value, "/dev/") && !strings.Contains(value, "/../")
	guid, byGUID := strings.CutPrefix(value, "PARTUUID=")
	if byGUID {
		_, err := gpt.ParseGUID(guid)
		byGUID = err == nil
	}
	if value != "auto" && value != "none" && !device && !byGUID {
		return fmt.Errorf("datapart=%s is ignored: give auto, none, the path of a device such as /dev/vda2, or PARTUUID= and the GUID of a partition", value)
	}
	o.DataPart = value
	return nil
}

func (o *Options) setStop(value string) error {
	seconds, err := strconv.ParseUint(value, 10, 32)
	bound := time.Duration(seconds) * time.Second
	if err != nil || bound > maxStop {
		return fmt.Errorf("kios.stop=%s is ignored: give whole seconds, at most %d", value, int(maxStop.Seconds()))
	}
	o.StopAfter = bound
	return nil
}

func (o *Options) setWatchdog(value string) error {
	seconds, err := strconv.ParseUint(value, 10, 32)
	bound := time.Duration(seconds) * time.Second
	if err != nil || bound > maxStop || bound != 0 && bound < minWatchdog {
		return fmt.Errorf("kios.watchdog=%s is ignored: give whole seconds, from %d to %d, or 0 for none",
			value, int(minWatchdog.Seconds()), int(maxStop.Seconds()))
	}
	o.Watchdog = bound
	return nil
}
