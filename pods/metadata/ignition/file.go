package ignition

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// file is an item of storage.files.
type file struct {
	path
	Filesystem string   `json:"filesystem"` // version 2
	Mode       *int     `json:"mode"`
	Contents   resource `json:"contents"`
	Append     appended `json:"append"`
	User       owner    `json:"user"`

	Overwrite json.RawMessage `json:"overwrite"` // files are always written
	Group     json.RawMessage `json:"group"`     // it is always root
}

type owner struct {
	ID   *int   `json:"id"`
	Name string `json:"name"`
}

// isRoot finds root, who owns all files of a node.
func (o owner) isRoot() bool {
	return (o.ID == nil || *o.ID == 0) && (o.Name == "" || o.Name == "root")
}

// resource is where a content is, which is in the configuration itself.
type resource struct {
	Source       *string `json:"source"`
	Compression  string  `json:"compression"`
	Inline       *string `json:"inline"` // these two are Butane's
	Local        *string `json:"local"`
	Verification struct {
		Hash string `json:"hash"`
	} `json:"verification"`
}

// appended is what version 3 adds to a file, or whether version 2 does that with contents.
type appended struct {
	all  bool
	more []resource
}

// UnmarshalJSON reads both.
func (a *appended) UnmarshalJSON(text []byte) error {
	if text[0] == '[' {
		return json.Unmarshal(text, &a.more)
	}
	return json.Unmarshal(text, &a.all)
}

// readFiles reads the files. One with a mistake does not keep others from being written.
func (c *config) readFiles() error {
	var mistakes bounded.Mistakes
	for i, item := range c.Storage.Files {
		var f file
		err := bounded.Whole(item, &f)
		if err == nil {
			err = c.readFile(f)
		}
		if err != nil {
			mistakes.Add(fmt.Errorf("%s: %w", f.name(i), err))
		}
	}
	return mistakes.Err()
}

// name is how a mistake names the file.
func (f *file) name(index int) string {
	if f.Path == "" {
		return fmt.Sprintf("storage.files: item %d", index+1)
	}
	return fmt.Sprintf("file %.200q", f.Path)
}

func (c *config) readFile(f file) error {
	if f.Filesystem != "" && f.Filesystem != "root" {
		c.node.Skip("file %.200q: it is for the file system %.60q, and a node writes its own only", f.Path, f.Filesystem)
		return nil
	}
	if !f.User.isRoot() {
		c.node.Skip("file %.200q: its owner is root, since a node has no others", f.Path)
	}
	if f.Contents.Source != nil || len(f.Append.more) == 0 {
		if err := c.write(f, f.Contents, f.Append.all); err != nil {
			return err
		}
	}
	for _, more := range f.Append.more {
		if err := c.write(f, more, true); err != nil {
			return err
		}
	}
	return nil
}

// errNoSource is about a file that would be empty: the node would lose what another text, or
// its image, has there.
var errNoSource = errors.New(`it has no contents.source: write "data:," there if the file is to be empty`)

// errRemote is about a content that would have to be fetched.
var errRemote = errors.New("its content is elsewhere, and a node gets nothing from there: put it into the configuration")

func (c *config) write(f file, r resource, add bool) error {
	content, err := r.read(c.files.Gunzip)
	if errors.Is(err, errRemote) {
		c.node.Skip("file %.200q: %v", f.Path, err)
		return nil
	}
	if err != nil {
		return err
	}
	return c.files.Add(want.File{Path: f.Path, Content: content, Mode: f.mode(), Append: add})
}

func (f file) mode() fs.FileMode {
	if f.Mode == nil {
		return 0
	}
	return fs.FileMode(*f.Mode) & fs.ModePerm
}

// read returns the content of a resource.
func (r resource) read(gunzip func([]byte) ([]byte, error)) ([]byte, error) {
	if r.Inline != nil || r.Local != nil {
		return nil, errors.New("contents.inline and contents.local are Butane's: make Ignition of the configuration with butane")
	}
	if r.Source == nil {
		return nil, errNoSource
	}
	if *r.Source == "" { // as version 2 has it for an empty file
		return nil, nil
	}
	content, err := dataURL(*r.Source)
	if err != nil {
		return nil, err
	}
	switch r.Compression {
	case "":
	case "gzip":
		if content, err = gunzip(content); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("the compression %.60q is not known: use gzip", r.Compression)
	}
	return content, verify(content, r.Verification.Hash)
}

// dataURL returns what is in a URL of RFC 2397.
func dataURL(source string) ([]byte, error) {
	rest, found := cutPrefixFold(source, "data:")
	if !found {
		return nil, errRemote
	}
	kind, data, found := strings.Cut(rest, ",")
	if !found {
		return nil, errors.New("its URL has no comma before the data; see RFC 2397")
	}
	text, err := url.PathUnescape(data)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(strings.ToLower(kind), ";base64") {
		return bounded.Base64([]byte(text))
	}
	return []byte(text), nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// verify compares a content, unpacked, with a hash such as sha256-0123.
func verify(content []byte, hash string) error {
	if hash == "" {
		return nil
	}
	kind, digits, _ := strings.Cut(hash, "-")
	wanted, err := hex.DecodeString(digits)
	if err != nil {
		return fmt.Errorf("its hash is not hexadecimal: %w", err)
	}
	var sum []byte
	switch kind {
	case "sha256":
		s := sha256.Sum256(content)
		sum = s[:]
	case "sha512":
		s := sha512.Sum512(content)
		sum = s[:]
	default:
		return fmt.Errorf("its hash is of the kind %.60q: use sha256 or sha512", kind)
	}
	if !bytes.Equal(sum, wanted) {
		return errors.New("its content has another hash than it should have")
	}
	return nil
}
