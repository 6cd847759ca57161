package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"kios/host/qemu"
)

// pause is how often a console's log is looked at for more.
const pause = 100 * time.Millisecond

// Follow calls each for every line of a console's log from an offset on, until
// the context ends; the lines of then included. A log that is not there yet is
// waited for.
func Follow(ctx context.Context, file string, from int64, each func(line string)) error {
	again := time.NewTicker(pause)
	defer again.Stop()
	var rest []byte
	for {
		last := ctx.Err() != nil
		data, err := readFrom(file, from)
		if err != nil || last && len(data) == 0 {
			return err
		}
		from += int64(len(data))
		rest = eachLine(append(rest, data...), each)
		if last {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

func readFrom(file string, from int64) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// eachLine returns what is not a whole line yet.
func eachLine(data []byte, each func(string)) []byte {
	for {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return data
		}
		if text := qemu.Clean(string(line)); text != "" {
			each(text)
		}
		data = rest
	}
}

// Lines returns what a console's log has, without what terminals are told by it.
func Lines(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines []string
	if rest := eachLine(data, func(line string) { lines = append(lines, line) }); len(rest) > 0 {
		lines = append(lines, qemu.Clean(string(rest)))
	}
	return lines, nil
}

// tail is the end of a console's log, to stand in an error.
func tail(file string, n int) string {
	lines, err := Lines(file)
	if err != nil || len(lines) == 0 {
		return ""
	}
	return "\n  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

func size(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}
