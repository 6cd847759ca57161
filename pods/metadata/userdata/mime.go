package userdata

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"

	"kios/pods/lazyregexp"
)

// maxHeader is how long the header of a MIME message may be.
const maxHeader = 16 << 10

// message reads a part that is a MIME message, and reports whether it is one.
func (r *reader) message(p part, depth int) bool {
	msg, err := parseMessage(p.data)
	if msg == nil && err == nil {
		return false
	}
	if err == nil && depth == maxDepth {
		err = errDeep
	}
	if err != nil {
		r.fail(p, err)
		return true
	}
	kind, boundary := mediaType(msg.Header.Get("Content-Type"))
	if !strings.HasPrefix(kind, "multipart/") {
		if strings.EqualFold(msg.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
			msg.Body = quotedprintable.NewReader(msg.Body)
		}
		return r.single(p, kind, msg.Body, depth)
	}
	body, err := io.ReadAll(msg.Body)
	if err != nil {
		r.fail(p, err)
		return true
	}
	r.multipart(p, multipart.NewReader(bytes.NewReader(repair(body, boundary)), boundary), depth)
	return true
}

// Errors of the parsers repeat lines of the text, which may be secret.
var (
	errHeader = errors.New("MIME: the header has a line that is none of NAME: VALUE at the margin, or no end")
	errType   = errors.New("MIME: the header has a Content-Type that is none of TYPE/SUBTYPE; NAME=VALUE")
	errNone   = errors.New("MIME: it has no parts: each begins with -- and the boundary of the header")
	errParts  = errors.New("MIME: the parts make no sense: each begins with -- and the boundary of the header, and has a header of its own and an empty line")
)

// parseMessage returns nil for what is no message. The header alone is looked at first:
// a text of YAML looks like one of a million lines.
func parseMessage(data []byte) (*mail.Message, error) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if bytes.HasPrefix(data, []byte("From ")) { // of a mailbox
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	start := min(len(data), maxHeader)
	head := repair(data[:start], "")
	if !inHeader().Match(head) {
		if isMIME().Match(head) {
			return nil, errHeader
		}
		return nil, nil
	}
	msg, err := mail.ReadMessage(io.MultiReader(bytes.NewReader(head), bytes.NewReader(data[start:])))
	if err != nil {
		return nil, errHeader
	}
	if kind, _ := mediaType(msg.Header.Get("Content-Type")); kind == "" {
		return nil, errType
	}
	return msg, nil
}

// inHeader matches a text whose first lines are those of a header, with a content type.
var inHeader = lazyregexp.New(`(?i)^(?:[!-9;-~]+:.*\r?\n(?:[ \t].*\r?\n)*)*content-type:(?s:.*?)(?:\n\r?\n)`)

// isMIME matches what cannot be meant to be anything else.
var isMIME = lazyregexp.New(`(?i)^(?:mime-version:|content-type:\s*multipart/)`)

// unquoted is a boundary as some write it, which needs quotes for what is in it.
var unquoted = lazyregexp.New(`(?i)boundary=([^";\s]+)`)

// mediaType returns the type of a header, in lower case, and its boundary.
func mediaType(header string) (kind, boundary string) {
	kind, params, err := mime.ParseMediaType(header)
	if errors.Is(err, mime.ErrInvalidMediaParameter) {
		if m := unquoted().FindStringSubmatch(header); m != nil {
			return kind, m[1]
		}
	}
	return kind, params["boundary"]
}

// single reads a message that has no parts.
func (r *reader) single(p part, kind string, body io.Reader, depth int) bool {
	data, err := io.ReadAll(body)
	if err != nil {
		r.fail(p, err)
		return true
	}
	p.data, p.kind = data, kind
	r.unpack(p, depth+1)
	return true
}

// multipart reads the parts of a message.
func (r *reader) multipart(p part, parts *multipart.Reader, depth int) {
	for found := false; ; found = true {
		next, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			if !found {
				r.fail(p, errNone)
			}
			return // the last boundary is left out by many
		}
		if err != nil {
			r.fail(p, errParts)
			return
		}
		if r.parts++; r.parts > maxParts {
			r.fail(p, fmt.Errorf("it has more than %d parts: join some", maxParts))
			return
		}
		if !r.part(next, depth) {
			return
		}
	}
}

// repair puts right what cloud-init reads, too, in a body with a boundary, or in a message:
// lines with a boundary that have both kinds of ends, as texts of different systems have that
// are put together, and a header without an empty line after it, as EKS itself has made them.
func repair(text []byte, boundary string) []byte {
	var out bytes.Buffer
	out.Grow(len(text) + len(text)/64)
	inHeader := boundary == ""
	for line := range bytes.Lines(text) {
		content := bytes.TrimRight(line, " \t\r\n")
		switch {
		case isDelimiter(content, boundary):
			if bytes.HasSuffix(out.Bytes(), []byte("\r\n")) {
				out.Truncate(out.Len() - 2)
				out.WriteByte('\n')
			}
			inHeader = true
			line = append(content[:len(content):len(content)], line[len(line)-bytes.Count(line, []byte("\n")):]...)
		case inHeader:
			inHeader = len(content) > 0 && !beginsText(content)
			if beginsText(content) {
				out.WriteByte('\n')
			}
		}
		out.Write(line)
	}
	return out.Bytes()
}

// isDelimiter finds a line with a boundary.
func isDelimiter(line []byte, boundary string) bool {
	line, found := bytes.CutPrefix(line, []byte("--"+boundary))
	return found && boundary != "" && (len(line) == 0 || string(line) == "--")
}

// beginsText finds a line that is none of a header, and that texts begin with: #!, ---, { of
// JSON, and the field of a NodeConfig.
func beginsText(line []byte) bool {
	return len(line) > 0 && strings.IndexByte("#-{", line[0]) >= 0 || bytes.HasPrefix(line, []byte("apiVersion:"))
}

// part reads one, and reports whether there may be more.
func (r *reader) part(next *multipart.Part, depth int) bool {
	p := part{number: r.parts, filename: next.FileName()}
	p.kind, _ = mediaType(next.Header.Get("Content-Type"))
	data, err := io.ReadAll(next)
	last := errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !last {
		r.fail(p, errParts)
		return false
	}
	if err := r.charge(len(data)); err != nil {
		r.fail(p, err)
		return false
	}
	p.data = data
	if strings.HasPrefix(p.kind, "multipart/") || p.kind == "message/rfc822" {
		p.data = nested(next, data)
	}
	r.unpack(p, depth+1)
	return !last
}

// nested is a part that has parts itself, as a message of its own.
func nested(p *multipart.Part, data []byte) []byte {
	if p.Header.Get("Content-Type") == "message/rfc822" {
		return data
	}
	return fmt.Appendf(nil, "Content-Type: %s\n\n%s", p.Header.Get("Content-Type"), data)
}
