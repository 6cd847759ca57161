package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kios/internal/userfile"
	"kios/internal/wholefile"
)

const (
	trustDir = "/etc/ssl/certs"
	caBundle = "ca-certificates.crt" // in trustDir
	// goodTrust has copies of what can be read there, if some cannot.
	goodTrust = "/run/kios/certs"

	maxTrust = 1024 // files
)

// trust returns what a daemon's environment needs to find the authorities that the user
// trusts. Go reads all files of trustDir by itself, whatever they are: a named pipe among
// them would hold a daemon up for ever, at its first connection. Then a directory with
// copies of the others takes its place.
func (n *Node) trust() []string { return n.trustOf(trustDir, goodTrust) }

func (n *Node) trustOf(dir, good string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 2 { // the bundle
		return nil
	}
	var all bytes.Buffer
	bad, noBundle := false, false
	for i, e := range entries {
		if e.IsDir() && e.Name() != caBundle {
			continue // Go reads none
		}
		text, err := readTrust(filepath.Join(dir, e.Name()), i)
		if err == nil && e.Name() != caBundle {
			all.Write(append(text, '\n'))
		}
		if errors.Is(err, errNoCertificate) {
			n.once.Error("%s/%s: %v", dir, e.Name(), err)
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			n.once.Error("%s/%s is not used: %v", dir, e.Name(), userfile.Reason(err))
			bad, noBundle = true, noBundle || e.Name() == caBundle
		}
	}
	if !bad {
		return nil
	}
	file := filepath.Join(good, "mine.pem")
	if err := errors.Join(os.MkdirAll(good, 0o755), wholefile.Volatile(file, all.Bytes(), 0o644)); err != nil {
		n.Log.Error("keep what is good of %s: %v", dir, err)
	}
	env := []string{"SSL_CERT_DIR=" + good}
	if noBundle {
		env = append(env, "SSL_CERT_FILE="+file)
	}
	return env
}

var errNoCertificate = errors.New("there is no certificate in it: put one there in PEM, or remove the file")

// readTrust reads one of the files.
func readTrust(path string, number int) ([]byte, error) {
	if number >= maxTrust {
		return nil, fmt.Errorf("there are more than %d files", maxTrust)
	}
	text, err := userfile.Read(path, userfile.Max)
	if err == nil && !bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
		err = errNoCertificate
	}
	return text, err
}
