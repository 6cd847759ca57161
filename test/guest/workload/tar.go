package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tarCommand is "tar cf - PATH" and "tar -xmf - [-C DIR]": what kubectl cp runs.
func tarCommand(args []string) error {
	dir, create, extract := ".", false, false
	var paths []string
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-C" && i+1 < len(args):
			i++
			dir = args[i]
		case arg == "cf":
			create = true
		case arg == "-xmf":
			extract = true
		case arg != "-" && !strings.HasPrefix(arg, "--"):
			paths = append(paths, arg)
		}
	}
	switch {
	case create && len(paths) == 1:
		return createTar(os.Stdout, paths[0])
	case extract:
		return extractTar(os.Stdin, dir)
	}
	return fmt.Errorf("tar: do not understand %q", args)
}

// createTar writes files and directories: names without the leading slash.
func createTar(w io.Writer, root string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return addToTar(out, path, info)
	})
	return errors.Join(err, out.Close())
}

func addToTar(out *tar.Writer, path string, info fs.FileInfo) error {
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.Name = strings.TrimPrefix(path, "/")
	if err := out.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

func extractTar(r io.Reader, dir string) error {
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("tar: %q leaves the directory", header.Name)
		}
		if err := extractEntry(in, header, filepath.Join(dir, header.Name)); err != nil {
			return err
		}
	}
}

func extractEntry(in io.Reader, header *tar.Header, path string) error {
	if header.Typeflag == tar.TypeDir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, header.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	return f.Close()
}
