package diskimage

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is how much of what was unpacked a file may refer to, in bytes: what zstd
// itself bounds it to, unless it is told otherwise. The node holds it in memory.
const maxWindow = 128 << 20

// unpack returns the content of a file that may be compressed, as a node would read it.
// What is not compressed can be skipped through, since it is the file itself.
func unpack(ctx context.Context, f *os.File) (io.ReadCloser, error) {
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzip.NewReader(untilDone{ctx, f})
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		d, err := zstd.NewReader(untilDone{ctx, f}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return f, nil
}

// untilDone is a file that ends with an error once the context has ended: what is
// compressed takes long to read.
type untilDone struct {
	ctx context.Context
	f   *os.File
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.f.Read(b)
}
