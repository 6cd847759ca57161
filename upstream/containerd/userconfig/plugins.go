package userconfig

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/platforms"
)

// Rules about what a plugin refuses while it starts, and CRI with it: it would be all of the
// user's files that are given up.

func platform(_ *checker, value any, _ []string) bool {
	text, ok := value.(string)
	_, err := platforms.Parse(text)
	return ok && (text == "" || err == nil)
}

// urlKey accepts values whose key is a URL.
func urlKey(_ *checker, _ any, path []string) bool {
	_, err := url.Parse(path[len(path)-1])
	return err == nil
}

// directory accepts a path that is a directory, or can become one.
func directory(c *checker, value any, _ []string) bool {
	dir, ok := value.(string)
	if !ok || dir == "" {
		return ok
	}
	dir = c.place(filepath.Clean(dir))
	if c.Elsewhere && !within(dir, c.Etc) {
		return true
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case err == nil:
			return info.IsDir()
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR), dir == filepath.Dir(dir):
			return false
		}
	}
}

// parent is directory for the path of a socket.
func parent(c *checker, value any, path []string) bool {
	socket, ok := value.(string)
	return ok && (socket == "" || directory(c, filepath.Dir(socket), path))
}

// nriPlugins accepts a directory in which all programs have names that NRI takes, such as
// 10-name: with any other one, it does not start.
func nriPlugins(c *checker, value any, path []string) bool {
	if !directory(c, value, path) {
		return false
	}
	entries, _ := os.ReadDir(c.place(value.(string)))
	for _, e := range entries {
		info, err := e.Info()
		if named, _ := filepath.Match("[0-9][0-9]-*", e.Name()); err == nil && !e.IsDir() && info.Mode()&0o111 != 0 && !named {
			return false
		}
	}
	return true
}

// maxSocketDir is the longest socket_dir that containerd takes, in bytes.
const maxSocketDir = 42

func socketDir(c *checker, value any, path []string) bool {
	dir, ok := value.(string)
	return ok && (dir == "" || filepath.IsAbs(dir) && len(filepath.Clean(dir)) <= maxSocketDir && writable(c, value, path) && directory(c, value, path))
}

// checkStreams has the stream server use a certificate only if it is told to, and only
// with its key.
func (c *checker) checkStreams() {
	text := func(key ...string) string {
		v, _ := lookup(c.merged, in(criServer, key...)...)
		s, _ := v.(string)
		return s
	}
	const section = "x509_key_pair_streaming"
	cert, key := text(section, "tls_cert_file"), text(section, "tls_key_file")
	if cert == "" && key == "" {
		return
	}
	enabled, _ := lookup(c.merged, in(criServer, "enable_tls_streaming")...)
	reason := ""
	switch {
	case enabled != true:
		reason = "enable_tls_streaming is not set"
	case cert == "" || key == "":
		reason = "a certificate needs its key, and a key its certificate"
	default:
		if _, err := tls.LoadX509KeyPair(c.place(cert), c.place(key)); err != nil {
			reason = oneLine(err)
		}
	}
	if reason != "" {
		path := in(criServer, section)
		value, _ := lookup(c.merged, path...)
		c.say(path, value, reason)
		c.setBack(path)
	}
}
