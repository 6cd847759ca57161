package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// Store keeps a set of files beyond the one start that it was used for.
type Store struct {
	// Dir is a directory in memory that holds the files themselves, for the daemon.
	Dir string
	// File is a file on the data partition that holds all of them, so that a power
	// cut leaves the old ones or the new ones; "" if there is no partition. Its
	// directory must exist.
	File string
}

// maxStored bounds the file: Base64 makes four bytes of three.
const maxStored = maxSet*3/2 + maxFiles*1024

// Load returns the set that was kept last, without contents; an empty one for none. One on the data partition
// counts more than one in memory, which is from before the node had the partition.
func (s Store) Load() (Set, error) {
	set, err := s.fromFile()
	if err == nil && set != nil {
		err = s.fill(set)
	}
	if set == nil {
		if set = s.fromDir(); set != nil {
			err = errors.Join(err, s.writeFile(set))
		}
	}
	return set.withoutContents(), err
}

// Save keeps a set, which has its contents.
func (s Store) Save(set Set) error { return errors.Join(s.fill(set), s.writeFile(set)) }

// Forget removes the set that was kept.
func (s Store) Forget() error {
	err := os.RemoveAll(s.Dir)
	if s.File != "" {
		err = errors.Join(err, wholefile.Remove(s.File))
	}
	return err
}

func (s Store) fromFile() (Set, error) {
	if s.File == "" {
		return nil, nil
	}
	text, err := userfile.Read(s.File, maxStored)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var contents map[string][]byte
	if err := json.Unmarshal(text, &contents); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.File, err)
	}
	set := Set{}
	for name, text := range contents {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("read %s: it holds the name %q", s.File, name)
		}
		set[name] = newFile(text)
	}
	return set, nil
}

// fromDir is for sets that were kept before there was a data partition.
func (s Store) fromDir() Set {
	if _, err := os.Stat(s.Dir); err != nil {
		return nil
	}
	r := reader{etc: s.Dir, set: Set{}}
	r.walk(".", "", -1) // the directory is one above those of a set
	return r.set
}

func (s Store) writeFile(set Set) error {
	if s.File == "" {
		return nil
	}
	contents := map[string][]byte{}
	for name, f := range set {
		contents[name] = f.text
	}
	text, err := json.Marshal(contents)
	if err != nil {
		return err
	}
	return wholefile.Durable(s.File, text, 0o600)
}

// fill replaces the directory. No daemon uses it then: one that does runs with an
// older set than the one that is kept.
func (s Store) fill(set Set) error {
	next := s.Dir + ".new"
	if err := errors.Join(os.RemoveAll(next), os.MkdirAll(next, 0o700)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		full := filepath.Join(next, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(full, set[name].text, 0o600); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(s.Dir), os.Rename(next, s.Dir))
}
