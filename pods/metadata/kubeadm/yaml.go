package kubeadm

import (
	"bytes"
	"fmt"
	"strings"

	"kios/pods/metadata/bounded"
)

// maxText is far more than configurations have, in bytes.
const maxText = 128 << 10

// decode reads one document of YAML.
func decode(text []byte, into any) error {
	if len(text) > maxText {
		return fmt.Errorf("it has more than %d bytes: at most these are read", maxText)
	}
	return bounded.YAML(text, into)
}

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
