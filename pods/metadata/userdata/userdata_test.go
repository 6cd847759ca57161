package userdata

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"kios/pods/metadata/want"
	"kios/test/lab"
	"kios/test/lab/formattest"
)

// note is a handler that notes what it is given.
func note(name string) Handler {
	return func(text []byte, _ *want.Machine, n *want.Node) error {
		n.Search = append(n.Search, fmt.Sprintf("%s %.60q", name, bytes.TrimSpace(text)))
		if bytes.Contains(text, []byte("mistake")) {
			return errors.New("a mistake")
		}
		if rest, found := bytes.CutPrefix(text, []byte("#cloud-config file ")); found {
			n.Files = append(n.Files, want.File{Path: string(rest), Content: []byte("drop-in")})
		}
		return nil
	}
}

func read(data string) (*want.Node, error) {
	return Read([]byte(data), new(want.Machine), Handlers{
		NodeConfig: note("node"), FirstKiOS: note("first"), CloudConfig: note("cloud"), Ignition: note("ignition"),
	})
}

func zip(data string) string { return string(formattest.Gzip([]byte(data))) }

func encode(data string) string { return base64.StdEncoding.EncodeToString([]byte(data)) }

// lines has a line end after 76 letters, as base64(1) has.
func lines(text string) string {
	var out strings.Builder
	for chunk := range slices.Chunk([]byte(text), 76) {
		out.Write(chunk)
		out.WriteString("\r\n")
	}
	return out.String()
}

// formats are texts, and what becomes of them: the handler, what is skipped, or "error: ".
var formats = map[string]string{
	"":                             "",
	" \n\t ":                       "",
	"#cloud-config\nhostname: a\n": "cloud",
	"\n  #cloud-config\n":          "cloud",
	"#cloud-config\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n": "error: a NodeConfig below the line #cloud-config: remove the first line",
	"kind: NodeConfig\nspec: {}\n":                                         "error: a NodeConfig has the field apiVersion",
	"\ufeff#cloud-config\n":                                                "cloud",
	"#Cloud-Config\n":                                                      "cloud",
	"## Template: jinja\n#cloud-config\n":                                  "cloud",
	"## template: jinja\n#cloud-config\nhostname: '{{ a }}'\n":             "cloud",
	"##template:jinja\n#!/bin/sh\n":                                        "shell script",
	"apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n":                "node",
	"---\nkind: NodeConfig\napiVersion: \"node.eks.aws/v1alpha1\"\n":       "node",
	`{"kind": "NodeConfig", "apiVersion":"node.eks.aws/v1alpha1"}`:         "node",
	"apiVersion: kios.redcoat.dev/v1alpha1\nkind: Whatever\n":              "first",
	"# comment\napiVersion: kios.redcoat.dev/v1alpha1\n":                   "first",
	"apiVersion: v1\nkind: Pod\nx:\n  apiVersion: node.eks.aws/v1alpha1\n": "error: no format",
	`{"ignition": {"version": "3.4.0"}}`:                                   "ignition",
	`{"ignitio": {"version": "3.4.0"}}`:                                    "error: no format",
	`{"x": {"ignition": {"version": "3.4.0"}}}`:                            "error: no format",
	"\ufeff{\"Ignition\": {}}":                                             "ignition",
	`{"ignition": {"version": "3.4.0"}, }`:                                 "ignition",
	`{"storage": {}, "ignition": {"version": "3`:                           "ignition",
	"{\n  \"a\": 1\n  \"b\": 2\n}":                                         "error: line 3, column 3",
	"{{ a }}":                                                              "error: line 1, column 2",
	"{" + strings.Repeat(" ", 1<<20) + "}":                                 "error: at most 1048576",
	"#!/bin/bash\necho\n":                                                  "shell script",
	"#include\nhttps://example.com\n":                                      "URLs to include",
	"#include-once https://example.com\n":                                  "URLs to include",
	"#cloud-boothook\n#!/bin/sh\n":                                         "insecureSkipSecretsManager",
	"#part-handler\n":                                                      "part handler",
	"#cloud-config-archive\n- {}\n":                                        "cloud-config-archive",
	"#cloud-config-jsonp\n[]\n":                                            "patch",
	"#!/bin/bash\n/etc/eks/bootstrap.sh dev\n":                             "NodeConfig",
	"#!/bin/bash\nkubeadm join 192.0.2.1:6443 --token hush\n":              "that command in runcmd",
	"variant: flatcar\nversion: 1.1.0\n":                                   "error: make Ignition of it with butane",
	"apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n":        "error: in write_files",
	"\xff\xfe#\x00a\x00":                                                   "error: UTF-16",
	"\xfe\xff\x00#":                                                        "error: UTF-16",
	"#\x00c\x00l\x00":                                                      "error: UTF-16",
	"MIME-Version: 1.0\n  Content-Type: multipart/mixed; boundary=B\n\n  --B\n\n#cloud-config\n":            "error: at the margin",
	"Content-Type: multipart/mixed; boundary=B\n\n--C\n\n#cloud-config\n--C--\n":                            "error: it has no parts",
	"Content-Type: text/cloud-config\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\na=3A b": "a: b",
	"hello\n": "error: no format",
	"[settings.kubernetes]\ncluster-name = \"a\"\n": "error: no format",
	"\x00\x01\x02":            "error: no format",
	"503 Service Unavailable": "error: no format",
	"Content-Type: multipart/mixed; boundary=B\nhush\n\n--B\n\n#cloud-config\n--B--\n": "error: line that is none",
	"Content-Type: multipart mixed\n\n--B\n\n#cloud-config\n--B--\n":                   "error: Content-Type that is none",
	"Content-Type: multipart/mixed; boundary=B\n\n--B\nhush\n\n#cloud-config\n--B--\n": "error: parts make no sense",
	"Content-Type: multipart/mixed\n\n--B\n\n#cloud-config\n--B--\n":                   "error: parts make no sense",
	"Content-Type: text/cloud-config; charset=\"us-ascii\"\r\n\r\nhostname:":           "cloud",
	"From nobody Thu\nMIME-Version: 1.0\ncontent-type: TEXT/Cloud-Config\n\n":          "",
	"Content-Type: text/plain\n\n#cloud-config\n":                                      "cloud",
}

func TestFormats(t *testing.T) {
	for text, want := range formats {
		for _, packed := range []string{text, encode(text), zip(text), encode(zip(text)), lines(encode(text)), zip(encode(text))} {
			n, err := read(packed)
			if message, failed := strings.CutPrefix(want, "error: "); failed {
				if err == nil || !strings.HasPrefix(err.Error(), "user data: ") || !strings.Contains(err.Error(), message) || strings.Contains(err.Error(), "hush") || len(n.Search) > 0 {
					t.Errorf("%.80q (packed: %.20q): %q, %v, want %q", text, packed, n.Search, err, message)
				}
				continue
			}
			if got := strings.Join(slices.Concat(n.Search, n.Skipped), "\n"); err != nil || !strings.Contains(got, want) || (want == "") != (got == "") || strings.Contains(got, "\n") {
				t.Errorf("%q (packed: %.20q): %q, %v, want %q", text, packed, got, err, want)
			}
		}
	}
}

func TestMIME(t *testing.T) {
	const config = "apiVersion: node.eks.aws/v1alpha1\n"
	for name, text := range map[string]string{
		"Karpenter":  "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\nContent-Type: application/node.eks.aws\n\n" + config + "\n--//--\n",
		"CRLF":       strings.ReplaceAll("MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"==B==\"\n\n--==B==\nContent-Type: application/node.eks.aws\n\n"+config+"\n--==B==--\n", "\n", "\r\n"),
		"no end":     "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\n\n" + config,
		"half end":   "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\n\n" + config + "\n--B\nContent-Type: x/y",
		"half line":  "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\n\n" + config + "\n--B",
		"no quotes":  "Content-Type: multipart/mixed; boundary=//\nMIME-Version: 1.0\n\n--//\nContent-Type: application/node.eks.aws\n\n" + config + "\n--//--\n",
		"base64":     "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\nContent-Transfer-Encoding: base64\n\n" + lines(encode(config)) + "--B--\n",
		"gzip":       "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\nContent-Transfer-Encoding: base64\n\n" + lines(encode(zip(config))) + "--B--\n",
		"quoted":     "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/node.eks.aws\nContent-Transfer-Encoding: quoted-printable\n\napiVersion=3A node.eks.aws/v1=\nalpha1\n--B--\n",
		"plain":      "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\n" + config + "--B--\n",
		"unknown":    "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: x/y\n\n" + config + "--B--\n",
		"LF first":   "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\n--B\r\nContent-Type: application/node.eks.aws\r\n\r\n" + config + "\r\n--B--\r\n",
		"CRLF first": "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: text/plain\r\n\r\n \n--B\nContent-Type: application/node.eks.aws\n\n" + config + "\n--B--\n",
		"wrong type": "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/cloud-config\n\n" + config + "--B--\n",
		"EKS":        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n--B\nContent-Type: application/node.eks.aws\n# comment\n" + config + "--B--\n",
		"EKS, again": "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B\"\n\n--B\nContent-Type: application/node.eks.aws\n" + config + "\n--B--\n",
		"EKS, CRLF":  "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"B\"\r\n--B\r\nContent-Type: application/node.eks.aws\r\n---\r\n" + config + "--B--\r\n",
		"nested":     "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: multipart/alternative; boundary=C\n\n--C\nContent-Type: application/node.eks.aws\n\n" + config + "\n--C--\n--B--\n",
	} {
		for _, packed := range []string{text, encode(text), zip(text), encode(zip(text))} {
			n, err := read(packed)
			if err != nil || len(n.Search) != 1 || !strings.HasPrefix(n.Search[0], "node ") || !strings.HasSuffix(n.Search[0], `apiVersion: node.eks.aws/v1alpha1"`) || len(n.Skipped) != 0 {
				t.Errorf("%s: %q, %q, %v", name, n.Search, n.Skipped, err)
			}
		}
	}
}

// message is a MIME message of these parts, each with the type before its first blank.
func message(parts ...string) string {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for i, p := range parts {
		kind, text, _ := strings.Cut(p, " ")
		part, _ := w.CreatePart(textproto.MIMEHeader{
			"Content-Type":        {kind},
			"Content-Disposition": {fmt.Sprintf("attachment; filename=\"file-%d\"", i+1)},
		})
		part.Write([]byte(text))
	}
	w.Close()
	return "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=" + w.Boundary() + "\n\n" + out.String()
}

func TestParts(t *testing.T) {
	n, err := read(message(
		"text/x-shellscript #!/bin/sh",
		"text/cloud-config mistake: 1",
		"application/node.eks.aws a",
		"text/jinja2 ## template: jinja\n#cloud-config",
		"application/node.eks.aws b",
		"text/cloud-config #cloud-config file /etc/eks/nodeadm.d/20-b.yaml",
		"text/cloud-config #cloud-config file /etc/eks/nodeadm.d/10-a.yaml",
		"text/cloud-config #cloud-config file /etc/eks/other",
	))
	got := strings.Join(n.Search, "\n")
	const want = `cloud "mistake: 1"
node "a"
cloud "## template: jinja\n#cloud-config"
node "b"
cloud "#cloud-config file /etc/eks/nodeadm.d/20-b.yaml"
cloud "#cloud-config file /etc/eks/nodeadm.d/10-a.yaml"
cloud "#cloud-config file /etc/eks/other"
node "drop-in"
node "drop-in"`
	if got != want || len(n.Files) != 0 {
		t.Errorf("got\n%s\nwant\n%s\nfiles %v", got, want, n.Files)
	}
	if err == nil || err.Error() != `user data, part 2 ("file-2"): cloud-config: a mistake` {
		t.Errorf("error %v", err)
	}
	if len(n.Skipped) != 2 || !strings.HasPrefix(n.Skipped[0], `user data, part 1 ("file-1"): it is a shell script: `) {
		t.Errorf("skipped: %q", n.Skipped)
	}
}

// A text that says what it is counts more than a type that is often given to others.
func TestWrongTypes(t *testing.T) {
	n, err := read(message(
		"text/x-shellscript #cloud-config",
		"text/cloud-config #!/bin/sh",
		"application/node.eks.aws #cloud-config",
		"text/cloud-config write_files: [{content: '{\"apiVersion\": \"node.eks.aws/v1alpha1\"}'}]",
		"text/x-shellscript cat <<EOF\napiVersion: node.eks.aws/v1alpha1\nEOF",
		"text/cloud-boothook #!/bin/sh",
	))
	if err != nil || len(n.Search) != 3 || len(n.Skipped) != 3 || !strings.Contains(n.Skipped[2], "boothook") {
		t.Errorf("%q, %q, %v", n.Search, n.Skipped, err)
	}
	for _, got := range n.Search {
		if !strings.HasPrefix(got, "cloud ") {
			t.Errorf("%s is read", got)
		}
	}
}

func TestNoHandler(t *testing.T) {
	n, err := Read([]byte("#cloud-config\n"), new(want.Machine), Handlers{})
	if err != nil || len(n.Skipped) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

// deep is a text in n messages or layers.
func deep(text string, n int, layer func(string) string) string {
	for range n {
		text = layer(text)
	}
	return text
}

func inMessage(text string) string {
	boundary := fmt.Sprintf("B%d", len(text))
	return "Content-Type: multipart/mixed; boundary=" + boundary + "\n\n--" + boundary + "\nContent-Type: message/rfc822\n\n" + text + "\n--" + boundary + "--\n"
}

func TestBounds(t *testing.T) {
	for name, tt := range map[string]struct{ data, want string }{
		"bomb":           {zip(strings.Repeat("\x00", 17<<20)), "unpacks to more"},
		"bomb in base64": {encode(zip(strings.Repeat("\x00", 17<<20))), "unpacks to more"},
		"bomb in a part": {message("text/plain "+encode(zip(strings.Repeat("\x00", 17<<20))), "text/plain a"), "unpacks to more"},
		"bomb of bombs":  {zip(zip(strings.Repeat("\x00", 17<<20))), "unpacks to more"},
		"large":          {strings.Repeat("a:", maxBytes), "more than 16777216 bytes"},
		"parts":          {message(slices.Repeat([]string{"text/x-shellscript x"}, maxParts+1)...), "more than 64 parts"},
		"layers":         {deep("#cloud-config", maxDepth+1, zip), "more than 4 layers"},
		"messages":       {deep("#cloud-config", maxDepth+1, inMessage), "more than 4 layers"},
		"broken gzip":    {zip("#cloud-config")[:20], "EOF"},
	} {
		var n *want.Node
		var err error
		used := lab.Allocated(func() { n, err = read(tt.data) })
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(n.Search) != 0 {
			t.Errorf("%s: %v, %q, want %q", name, err, n.Search, tt.want)
		}
		if used > 160<<20 {
			t.Errorf("%s: %d bytes of user data allocate %d MiB", name, len(tt.data), used>>20)
		}
	}
	for name, data := range map[string]string{"layers": deep("#cloud-config", maxDepth, zip), "messages": deep("#cloud-config", maxDepth, inMessage)} {
		if n, err := read(data); err != nil || len(n.Search) != 1 {
			t.Errorf("%s: as many as there may be: %+v, %v", name, n, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(message("text/cloud-config #cloud-config", "text/plain "+encode(zip("#!")))))
	f.Add([]byte(encode(zip("apiVersion: node.eks.aws/v1alpha1\n"))))
	f.Add([]byte(inMessage(inMessage("#include"))))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\xff\"\n\n--\xff\r\n\r\n#!"))
	f.Add([]byte("From x\nContent-Type: multipart/mixed; boundary=//\n\n--//\n\n{\"ignition\": {}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var n *want.Node
		var err error
		used := lab.Allocated(func() { n, err = read(string(data)) })
		if used > uint64(160<<20+200*len(data)) {
			t.Errorf("%d bytes of user data allocate %d: %v", len(data), used, err)
		}
		if len(n.Search)+len(n.Skipped) > 2*maxParts {
			t.Errorf("%d parts are read", len(n.Search)+len(n.Skipped))
		}
	})
}
