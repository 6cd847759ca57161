package kubeadm

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// maxText is far more than configurations have, in bytes. YAML takes many times its size
// in memory.
const maxText = 128 << 10

// anchor is the beginning of what YAML repeats: a text of some kilobytes would become
// gigabytes with it.
var anchor = regexp.MustCompile(`(?m)(^|[\s\[\]{},:?'"-])&[\w-]`)

// decode reads one document of YAML.
func decode(text []byte, into any) error {
	switch {
	case len(text) > maxText:
		return fmt.Errorf("it has more than %d bytes: at most these are read", maxText)
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return errors.New("it is not a text in UTF-8")
	case anchor.Match(text):
		return errors.New("it has an anchor (&NAME), and these are not read: write out what it stands for")
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%.300s", prefixes.ReplaceAllString(strings.Join(strings.Fields(err.Error()), " "), ""))
	}
	return nil
}

// prefixes are names of the steps in which YAML is read.
var prefixes = regexp.MustCompile(`^(error (converting YAML to JSON|unmarshaling JSON): |while decoding JSON: |yaml: |json: )+`)

// split returns the documents of a text. A line of three dashes ends one, wherever it is,
// and what follows them belongs to the next one.
func split(text []byte) (docs [][]byte) {
	var doc []byte
	for line := range bytes.Lines(text) {
		if rest, found := bytes.CutPrefix(line, []byte("---")); found && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			docs, doc = append(docs, doc), nil
			line = rest
		}
		doc = append(doc, line...)
	}
	return append(docs, doc)
}
