package console

import (
	"io"
	"regexp"

	"kios/pods/lazyregexp"
)

// secrets are the forms of those that user data have, and what stands in their place.
var secrets = []struct {
	form func() *regexp.Regexp
	with string
}{
	// Tokens of bootstrap: the part before the dot is no secret.
	{lazyregexp.New(`\b([a-z0-9]{6})\.[a-z0-9]{16}\b`), "$1.***"},
	// JSON Web Tokens, and tokens of EKS.
	{lazyregexp.New(`\b(eyJ|k8s-aws-v1\.)[A-Za-z0-9._-]{16,}`), "$1***"},
	// The user of a URL, and its query.
	{lazyregexp.New(`://[^/\s@"]*@`), "://***@"},
	{lazyregexp.New(`[^\s/@:"]+:[^\s/@:"]+@`), "***@"},
	{lazyregexp.New(`(://[^\s?"]*\?)[^\s"]+`), "$1***"},
	// Keys, as they are or in base64 ("-----BEGIN").
	{lazyregexp.New(`-----BEGIN.*|LS0tLS1CRUdJ[A-Za-z0-9+/=]*`), "***"},
}

// Redact takes secrets of known forms out of a line. It is a net below messages that do not
// repeat values which may be secret, and not in place of that.
func Redact(line string) string {
	for _, s := range secrets {
		line = s.form().ReplaceAllString(line, s.with)
	}
	return line
}

// Redacted is a writer for a pod's log that has each entry without such secrets.
func Redacted(to io.Writer) io.Writer { return redacted{to} }

type redacted struct{ to io.Writer }

func (r redacted) Write(entry []byte) (int, error) {
	if _, err := io.WriteString(r.to, Redact(string(entry))); err != nil {
		return 0, err
	}
	return len(entry), nil
}
