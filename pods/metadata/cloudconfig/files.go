package cloudconfig

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/want"
)

// file is an item of write_files.
type file struct {
	Path        scalar      `json:"path"`
	Content     scalar      `json:"content"`
	Owner       scalar      `json:"owner"`
	Permissions permissions `json:"permissions"`
	Encoding    scalar      `json:"encoding"`
	Append      truth       `json:"append"`
	Source      *struct {
		URI scalar `json:"uri"`
	} `json:"source"`
}

// writeFiles reads the files. One with a mistake does not keep others from being written.
func (c *config) writeFiles(items []json.RawMessage) error {
	var mistakes bounded.Mistakes
	for i, item := range items {
		var f file
		if err := bounded.JSON(item, &f); err != nil {
			mistakes.Add(fmt.Errorf("item %d: %w", i+1, err))
			continue
		}
		if f.Source != nil && f.Source.URI != "" {
			c.node.Skip("file %.200q: its content is at %s, and a node gets nothing from elsewhere: write it as content", f.Path, host(string(f.Source.URI)))
			continue
		}
		if err := c.writeFile(f); err != nil {
			mistakes.Add(fmt.Errorf("%.200q: %w", f.Path, err))
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
	content, err := decode(bounded.BytesOf(string(f.Content)), string(f.Encoding), c.files.Gunzip)
	if err != nil {
		return err
	}
	if user, _, _ := strings.Cut(string(f.Owner), ":"); user != "" && user != "root" && user != "0" {
		c.node.Skip("file %.200q: its owner is root, since a node has no user %.60q", f.Path, user)
	}
	return c.files.Add(want.File{Path: string(f.Path), Content: content, Mode: fs.FileMode(f.Permissions), Append: bool(f.Append)})
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
