package cloudconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// file is an item of write_files.
type file struct {
	Path        scalar          `json:"path"`
	Content     *scalar         `json:"content"` // nil for none
	Owner       scalar          `json:"owner"`
	Permissions permissions     `json:"permissions"`
	Encoding    scalar          `json:"encoding"`
	Append      truth           `json:"append"`
	Defer       json.RawMessage `json:"defer"` // a node has no packages that files would be for
	Source      *struct {
		URI scalar `json:"uri"`
	} `json:"source"`
}

// name is how a mistake names the file.
func (f *file) name(index int) string {
	if f.Path == "" {
		return fmt.Sprintf("item %d", index+1)
	}
	return fmt.Sprintf("%.200q", f.Path)
}

// writeFiles reads the files. One with a mistake does not keep others from being written.
func (c *config) writeFiles(items []json.RawMessage) error {
	var mistakes bounded.Mistakes
	for i, item := range items {
		var f file
		err := bounded.Whole(item, &f)
		if err == nil {
			err = c.writeFile(f)
		}
		if err != nil {
			mistakes.Add(fmt.Errorf("%s: %w", f.name(i), err))
		}
	}
	return mistakes.Err()
}

// host is the part of a URL that holds no secret.
func host(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return "a URL"
	}
	return fmt.Sprintf("%.100s://%.200s", u.Scheme, u.Host)
}

func (c *config) writeFile(f file) error {
	if f.Source != nil && f.Source.URI != "" {
		c.node.Skip("file %.200q: its content is at %s, and a node gets nothing from elsewhere: write it as content", f.Path, host(string(f.Source.URI)))
		return nil
	}
	content, err := c.content(f)
	if err != nil {
		return err
	}
	if user, _, _ := strings.Cut(string(f.Owner), ":"); user != "" && user != "root" && user != "0" {
		c.node.Skip("file %.200q: its owner is root, since a node has no user %.60q", f.Path, user)
	}
	return c.files.Add(want.File{Path: string(f.Path), Content: content, Mode: fs.FileMode(f.Permissions), Append: bool(f.Append)})
}

var (
	errNoContent  = errors.New(`it has no content: write content: "" if the file is to be empty`)
	errEmptyBlock = errors.New(`its content is empty: indent the text below "content: |" deeper than that line, or write content: "" if the file is to be empty`)
)

// content returns what is to be in a file. An empty file is one that was asked for: the node
// would lose what another text, or its image, has there.
func (c *config) content(f file) ([]byte, error) {
	switch {
	case f.Content == nil:
		return nil, errNoContent
	case *f.Content == "" && c.emptyBlock:
		return nil, errEmptyBlock
	}
	return decode(bounded.BytesOf(string(*f.Content)), string(f.Encoding), c.files.Gunzip)
}

// block matches a line of YAML after which the text of a field follows.
var block = lazyregexp.New(`^((?: *- +)* *)["']?content["']?:[ \t]+(?:!\S+[ \t]+)?[|>][-+0-9]*(?:[ \t]+#.*)?[ \t]*$`)

// hasEmptyBlock finds a field "content: |" without lines of its own, since those below it
// are not indented deeper. Once it is parsed, it looks like one that was meant to be empty.
// (Cluster API means it so: below it, there is a line of spaces.)
func hasEmptyBlock(text []byte) bool {
	indent := -1 // of a field whose text is to come
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		rest := bytes.TrimLeft(line, " ")
		switch deeper := len(line)-len(rest) > indent; {
		case len(rest) == 0 && !deeper:
			continue
		case indent >= 0 && !deeper:
			return true
		}
		indent = -1
		if m := block().FindSubmatch(line); m != nil {
			indent = len(m[1])
		}
	}
	return indent >= 0
}

// decode undoes an encoding of cloud-init's.
func decode(content []byte, encoding string, gunzip func([]byte) ([]byte, error)) ([]byte, error) {
	encoding = strings.ToLower(strings.TrimSpace(encoding))
	outer, inner, both := strings.Cut(encoding, "+")
	isGzip := func(s string) bool { return s == "gzip" || s == "gz" }
	isBase64 := func(s string) bool { return s == "base64" || s == "b64" }
	switch {
	case encoding == "" || encoding == "text/plain":
		return content, nil
	case !both && isBase64(outer):
		return bounded.Base64(content)
	case !both && isGzip(outer):
		return gunzip(content)
	case both && isGzip(outer) && isBase64(inner):
		packed, err := bounded.Base64(content)
		if err != nil {
			return nil, err
		}
		return gunzip(packed)
	}
	return nil, fmt.Errorf("the encoding %.60q is not known: use b64 or gzip+b64", encoding)
}

// permissions is the mode of a file: a text in octal, or the number that YAML makes of one
// without quotes.
type permissions fs.FileMode

// UnmarshalJSON reads both.
func (p *permissions) UnmarshalJSON(text []byte) error {
	var value scalar
	if err := json.Unmarshal(text, &value); err != nil || value == "" {
		return err
	}
	digits, base := string(value), 10
	if text[0] == '"' {
		digits, base = strings.TrimPrefix(strings.ToLower(digits), "0o"), 8
	}
	mode, err := strconv.ParseUint(digits, base, 16)
	if err != nil || mode > 0o7777 {
		return fmt.Errorf("%.60q are no permissions: write them as '0644'", value)
	}
	*p = permissions(mode) & permissions(fs.ModePerm)
	return nil
}
