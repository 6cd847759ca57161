package clusterconfig

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"kios/internal/discovery"
	"kios/internal/wholefile"
)

func (c *Cluster) openToken() error {
	text, err := os.ReadFile(c.path("token"))
	if errors.Is(err, fs.ErrNotExist) {
		c.token = newToken()
		return wholefile.Durable(c.path("token"), []byte(c.token+"\n"), 0o600)
	}
	if err != nil {
		return err
	}
	c.token = strings.TrimSpace(string(text))
	if discovery.CheckToken(c.token) != nil {
		return fmt.Errorf("%s does not have a bootstrap token in it (6 characters, a dot, 16 characters of a-z and 0-9); remove the file to get a new token", c.path("token"))
	}
	return nil
}

func newToken() string {
	text := strings.ToLower(rand.Text()) // 26 characters of a-z and 2-7, 130 bits
	return text[:6] + "." + text[6:22]
}
