package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kios/test/lab"
)

// commands lists a command and all below it.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

func TestHelpGroupsCommands(t *testing.T) {
	root := newRootCommand()
	for _, c := range root.Commands() {
		if c.GroupID == "" {
			t.Errorf("kios %s is in no group", c.Name())
		}
	}
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"help"})
	lab.Must(t, root.Execute())
	use, develop, found := strings.Cut(out.String(), "Commands for work on kiOS itself:\n")
	if !found || !strings.Contains(use, "  run ") || strings.Contains(use, "  bench ") || !strings.Contains(develop, "  bench ") {
		t.Errorf("help does not tell the commands of users from those of developers:\n%s", out.String())
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	for _, c := range commands(newRootCommand()) {
		if c.Short == "" {
			t.Errorf("%s has no short description", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example + "\n") {
			if width := len([]rune(strings.TrimRight(line, "\n"))); width > 88 {
				t.Errorf("%s: a line of its help has %d columns: %s", c.CommandPath(), width, line)
			}
		}
	}
}

// A flag that names a file is never taken for one that is not there.
func TestEmptyNames(t *testing.T) {
	paths := regexp.MustCompile(`^(file|directory|archive|image|checkout|size|HOST:PORT)$`)
	tried := map[string]bool{}
	for _, c := range commands(newRootCommand()) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			what, _ := pflag.UnquoteUsage(f)
			if !paths.MatchString(what) || f.Name == "endpoint" { // which must be given
				return
			}
			tried[f.Name] = true
			want := "give the " + what + ", or leave the flag out"
			if err := c.Flags().Set(f.Name, ""); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s --%s '' = %v, want %q", c.CommandPath(), f.Name, err, want)
			}
		})
		if strings.Contains(c.Flags().FlagUsages(), "[]") {
			t.Errorf("the help of %s has an empty list:\n%s", c.CommandPath(), c.Flags().FlagUsages())
		}
	}
	for _, name := range []string{"etc", "oci", "disk", "user-data", "keep", "ca", "client-cert", "client-key", "efi", "size", "join", "against"} {
		if !tried[name] {
			t.Errorf("no command has --%s, or its help does not say what it takes", name)
		}
	}
}

// One directory for --etc, however many commands take it.
func TestExamplesAgree(t *testing.T) {
	ours := regexp.MustCompile(`--etc (my-node\S*)`)
	found := map[string][]string{}
	for _, c := range commands(newRootCommand()) {
		for _, m := range ours.FindAllStringSubmatch(c.Example, -1) {
			found[m[1]] = append(found[m[1]], c.CommandPath())
		}
	}
	if len(found) != 1 {
		t.Errorf("the examples name these directories: %v; want one", found)
	}
}

func TestMistypedCommandsAreErrors(t *testing.T) {
	for _, args := range [][]string{{"rn"}, {"cluster", "dwn"}, {"run", "disk.img"}} {
		root := newRootCommand()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("kios %s = %v, want an unknown command", strings.Join(args, " "), err)
		}
	}
}
