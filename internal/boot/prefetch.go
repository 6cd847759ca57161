package boot

import (
	"os"

	"golang.org/x/sys/unix"
)

// prefetched are the programs of the boot in the order in which they are
// waited for longest.
var prefetched = []string{"/bin/kubelet", "/bin/containerd", "/bin/containerd-shim-runc-v2", "/bin/runc"}

// readahead is as much as the kernel reads ahead at one request, in bytes: the
// rest of a longer request is ignored.
const readahead = 128 << 10

// prefetchFrom is the memory, in bytes, from which on the programs fit into
// the page cache beside everything else.
const prefetchFrom = 448 << 20

// prefetch has the kernel unpack the programs into the page cache while init,
// which needs one CPU, makes places for them. Otherwise they would wait at each
// page fault until 32 KiB more are unpacked.
func (n *Node) prefetch() error {
	if n.memory < prefetchFrom || n.cpus < 2 {
		return nil
	}
	n.spawn("prefetch", func() {
		for _, path := range prefetched {
			f, err := os.Open(path)
			if err != nil {
				return // who starts it will say so
			}
			prefetchFile(f)
			f.Close()
		}
	})
	return nil
}

// prefetchFile runs at the priority of those that need the file. With less it
// would keep pages locked, and them waiting, for as long as it does not run.
func prefetchFile(f *os.File) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	for at := int64(0); at < info.Size(); at += readahead {
		unix.Fadvise(int(f.Fd()), at, readahead, unix.FADV_WILLNEED)
	}
}
