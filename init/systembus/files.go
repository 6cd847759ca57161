package systembus

// maxReaders is how many clients may have a file read at the same time.
const maxReaders = 2

// files bounds how many files are read at the same time. Their disk may hang, and then
// each reader holds a thread. PID 1 has a few in reserve and there are many clients, who
// wait here without one.
type files chan struct{}

func newFiles() files { return make(files, maxReaders) }

// read calls file, which reads a file.
func (f files) read(file func() string) string {
	f <- struct{}{}
	defer func() { <-f }()
	return file()
}
