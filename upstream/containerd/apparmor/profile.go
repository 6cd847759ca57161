// Package apparmor deals with containerd's default AppArmor profile on a node that has no
// parser for profiles: the profile is compiled when kiOS is built, and PID 1 loads it.
package apparmor

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/contrib/apparmor"
)

// Default is the name of the profile that CRI confines containers with.
const Default = "cri-containerd.apparmor.d"

// Print writes the profile as containerd itself would make it on a node, on whatever
// machine this runs.
func Print(w io.Writer) error {
	text, err := apparmor.DumpDefaultProfile(Default)
	if err != nil {
		return err
	}
	text = asOnNode(text)
	if strings.Contains(text, "#include") {
		return fmt.Errorf("containerd's profile includes a file that is not known here:\n%s", text)
	}
	_, err = io.WriteString(w, text)
	return err
}

// What the text has of the machine that it is made on: macros of AppArmor's own package,
// how containerd is confined there, and where RootlessKit is.
var (
	ofHost = regexp.MustCompile(`(?m)^(abi <abi/3\.0>,|\s*#include <abstractions/base>|` +
		`\s*# https://github\.com/containerd/nerdctl/issues/2730\n\s*signal \(receive\) peer=\S*rootlesskit,)$`)
	tunables = regexp.MustCompile(`(?m)^#include <tunables/global>$`)
	manager  = regexp.MustCompile(`(?m)(# Manager may send .*\n\s*signal \(receive\) peer=).*,$`)
	empty    = regexp.MustCompile(`\n(\s*\n)+`)
)

// asOnNode makes of the text what it is where none of that is there.
func asOnNode(text string) string {
	text = ofHost.ReplaceAllString(text, "")
	text = tunables.ReplaceAllString(text, "@{PROC}=/proc/")
	text = manager.ReplaceAllString(text, "${1}unconfined,")
	return strings.TrimLeft(empty.ReplaceAllString(text, "\n"), "\n")
}
