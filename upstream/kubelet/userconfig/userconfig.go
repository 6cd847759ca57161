// Package userconfig checks the KubeletConfiguration files that a user put on
// the node, config.yaml and config.d/*.{yaml,conf}, and kubelet-flags, and copies the good ones
// into the kubelet's drop-in directory. A file is good when the kubelet's own
// decoder accepts it. A bad one is named on standard error, with the reason, and
// left out: the node comes up with its defaults.
//
// A good file counts, less what cannot be true on this node:
//
//   - fields and feature gates that the kubelet does not know (document.go)
//   - values that the kubelet's own code refuses (faults.go, merge.go)
//   - what belongs to another system: its cgroups, its sockets, its files (foreign.go)
//   - what this machine does not have: memory, processors, ports (machine.go, corrections.go)
//
// Each of these costs a line and itself. Where a default of the node's own stands in
// the way of a user's field, the default goes, without a word (merge.go).
//
// It follows https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/.
package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"

	"kios/internal/wholefile"
	"kios/upstream/kubelet/args"
)

// prefix is what the names of our drop-ins start with: after init's
// 10-node.conf and 20-cluster.conf, so that the user has the last word.
const prefix = "50-"

// last is read after the user's files: it takes out what this node cannot or must not do.
const last = "90-node.conf"

// Etc returns the directory in whose place the user's files are in /etc. PID 1 names
// another one when the kubelet does not stay up with those there.
func Etc() string {
	const variable = "KIOS_ETC"
	dir := os.Getenv(variable)
	os.Unsetenv(variable) // nothing for those whom the kubelet starts
	if dir == "" {
		return "/etc"
	}
	return dir
}

// Check looks for the user's files below etc (config.yaml, config.d, and those of
// kubelet-flags that are fields) and fills the directory that the command line gives as --config-dir. It costs two
// failed look-ups and a look at the kubelet's port when there are none, and nothing
// without --config-dir. It returns the configuration that the kubelet will have, nil if
// that is the node's own.
func Check(etc string, list []string, sys System, log io.Writer) *config.KubeletConfiguration {
	dropins := args.Value(list, "config-dir")
	if dropins == "" {
		return nil
	}
	removeOld(dropins)
	log = lines{log}
	files, err := userFiles(etc)
	if err != nil {
		fmt.Fprintf(log, "kios: ignoring %s\n", oneLine(err))
	}
	files = withFlags(files, etc)
	if len(files) == 0 {
		if sys.Place == nil {
			closeTakenPort(dropins, log)
		}
		return nil
	}
	kc, err := fill(files, dropins, list, sys, log)
	if err != nil {
		// What could not be written may be what keeps others out: the files are not safe
		// to use without it.
		removeOld(dropins)
		fmt.Fprintf(log, "kios: ignoring %s: %s: using defaults\n", strings.Join(files, ", "), oneLine(err))
		return nil
	}
	return kc
}

// fill writes the drop-ins.
func fill(files []string, dropins string, list []string, sys System, log io.Writer) (kc *config.KubeletConfiguration, err error) {
	defer func() { // as in read
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take them: %v", p)
		}
	}()
	c, err := newChecker(args.Value(list, "config"), dropins, sys)
	if err != nil {
		return nil, err
	}
	docs, err := c.choose(files, log)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		data, err := d.data()
		if err != nil {
			return nil, err
		}
		if err := writeFile(filepath.Join(dropins, dropinName(indexOf(files, d.file), d.file)), data); err != nil {
			return nil, err
		}
	}
	if err := c.writeLast(filepath.Join(dropins, last), args.Value(list, "kubeconfig") != "", log); err != nil {
		return nil, fmt.Errorf("write %s: %w", last, err)
	}
	return c.final()
}

// dropinName is the name of a file's copy. A name that is as long as one can be is cut.
func dropinName(index int, file string) string {
	name := filepath.Base(file)
	return fmt.Sprintf("%s%03d-%s.conf", prefix, index, name[:min(len(name), 200)])
}

func indexOf(files []string, file string) int {
	for i, f := range files {
		if f == file {
			return i
		}
	}
	return -1
}

// removeOld deletes what an earlier start of the kubelet left: the user may
// have changed or deleted a file since.
func removeOld(dropins string) {
	old, _ := filepath.Glob(filepath.Join(dropins, prefix+"*.conf"))
	for _, f := range append(old, filepath.Join(dropins, last)) {
		os.Remove(f)
	}
}

// maxFiles is more than anybody needs. Each costs time, and twice as much if one is bad.
const maxFiles = 64

// userFiles lists the user's files in the order in which they take effect. What it does not
// list is an error, if it is there.
func userFiles(etc string) (files []string, err error) {
	main, dir := filepath.Join(etc, "config.yaml"), filepath.Join(etc, "config.d")
	if isThere(main) {
		files = append(files, main)
	}
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil && !isThere(dir) {
		return files, nil
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".conf" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) > maxFiles {
		return files[:maxFiles], fmt.Errorf("%s and what comes after it: a node reads %d files", files[maxFiles], maxFiles)
	}
	return files, err
}

// withFlags adds the file of flags, if it sets fields.
func withFlags(files []string, etc string) []string {
	file := filepath.Join(etc, flagsFile)
	flags, _, err := readFlags(file)
	if err != nil || !slices.ContainsFunc(flags, func(f userFlag) bool { return isField(f.name) }) {
		return files // Flags has said what there is to say
	}
	return append(files, file)
}

// isThere reports whether a path is in use: by a link to nowhere, too, which somebody has
// made for a purpose.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// writeLast writes the drop-in that is read after the user's, if there is need
// for one.
func (c *checker) writeLast(path string, joined bool, log io.Writer) error {
	if err := c.correct(joined, func(format string, args ...any) { fmt.Fprintf(log, "kios: "+format+"\n", args...) }); err != nil {
		return err
	}
	if len(c.last) == 0 {
		return nil
	}
	data, err := json.MarshalIndent(withHead(c.last), "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

// withHead returns fields as a document that the kubelet reads.
func withHead(fields map[string]any) map[string]any {
	all := map[string]any{"apiVersion": kubeletv1beta1.SchemeGroupVersion.String(), "kind": "KubeletConfiguration"}
	for name, value := range fields {
		all[name] = value
	}
	return all
}

// oneLine keeps a message on the one line that the log has for it.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "..."
	}
	return text
}

// lines writes each message as one line, whatever names of files and values are in it:
// PID 1 repeats what begins a line with "kios: ".
type lines struct{ to io.Writer }

func (l lines) Write(message []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.TrimSuffix(string(message), "\n"))
	_, err := io.WriteString(l.to, text+"\n")
	return len(message), err
}

// writeFile replaces a file whole, so that a kubelet never reads half of one. All
// that is written here goes with the boot.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Volatile(path, data, 0o600)
}
