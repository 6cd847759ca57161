package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"kios/host/diskimage"
)

const (
	maxShownFile = 2 << 10  // bytes of a file that is shown, and not only named
	maxShown     = 32 << 10 // of all
)

// showEtc prints the files that the node has made of user data, when it is off.
func (r *runPlan) showEtc(ctx context.Context, block func(string)) {
	if r.options.userData == "" || r.options.disk != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := readEtc(ctx, r.path("disk.img"), r.path("node-etc"))
	if err != nil {
		text = fmt.Sprintf("  it could not be read: %v\n", err)
	}
	block("\nIn the node's /etc, from this run on:\n" + text)
}

// readEtc copies what a disk has for /etc into a new directory, and shows it.
func readEtc(ctx context.Context, disk, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if err := diskimage.ReadEtc(ctx, disk, dir); err != nil {
		return "", err
	}
	return listFiles(filepath.Join(dir, "etc"))
}

// listFiles shows small texts that anybody on the node may read, and names the rest.
func listFiles(root string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || b.Len() > maxShown {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			fmt.Fprintf(&b, "  %s%s\n", name, shownText(path, d))
		}
		return err
	})
	return b.String(), err
}

// shownText is a file's text, indented, or why it is not shown.
func shownText(path string, d fs.DirEntry) string {
	info, err := d.Info()
	switch {
	case err != nil:
		return ": " + err.Error()
	case info.Mode().Perm()&0o044 == 0:
		return ": for root only"
	case info.Size() > maxShownFile:
		return fmt.Sprintf(": %d bytes", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ": " + err.Error()
	}
	switch {
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return ": no text"
	case bytes.HasPrefix(data, []byte("-----BEGIN ")):
		return ": PEM"
	}
	return "\n      " + strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", "\n      ")
}
