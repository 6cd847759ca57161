// Command hello is the whole image kios.local/hello: it says hello from time to
// time until it is told to stop. Its flags turn it into what the tests need: a
// writer whose records must survive a power cut, a program that takes its time
// to stop, and one whose start, and the memory then in use, can be seen on the
// serial console.
//
// Each record that -write appends is on the disk before its line is printed. After
// a restart the program checks the records in the file, and continues after the
// last one.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var (
		every    = flag.Duration("every", 10*time.Second, "say hello, or write a record, every `TIME`")
		write    = flag.String("write", "", "append numbered records to `FILE`, and sync each")
		onTerm   = flag.String("on-term", "", "write `FILE` when told to stop, after the time of -linger")
		linger   = flag.Duration("linger", 0, "take `TIME` to stop")
		marker   = flag.String("marker", "", "write the line `TEXT` to -marker-to at the start")
		markerTo = flag.String("marker-to", "/dev/console", "where to write -marker")
		memAfter = flag.Duration("meminfo-after", 0, "after `TIME`, write the machine's total and available memory to -marker-to")
	)
	flag.Parse()
	log.SetFlags(0)
	log.SetOutput(os.Stdout)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if *marker != "" {
		mark(*markerTo, *marker+" running")
	}
	if *memAfter > 0 {
		time.AfterFunc(*memAfter, func() { mark(*markerTo, *marker+" "+memory()) })
	}
	tick := greet(time.Now())
	if *write != "" {
		tick = openRecords(*write).append
	}
	end(repeat(tick, *every, stop), *linger, *onTerm)
}

// repeat calls tick at once and then at each interval, and returns the signal
// that ends it.
func repeat(tick func(), every time.Duration, stop <-chan os.Signal) os.Signal {
	tick()
	for ticker := time.NewTicker(every); ; {
		select {
		case <-ticker.C:
			tick()
		case s := <-stop:
			return s
		}
	}
}

// greet returns a function that says hello, from where and since when.
func greet(start time.Time) func() {
	return func() {
		node, err := os.Hostname() // the node's: the pod has no name of its own
		check(err)
		log.Printf("hello from %s, running for %s", node, time.Since(start).Round(time.Second))
	}
}

// memory returns the lines MemTotal and MemAvailable of proc_meminfo(5), in bytes.
func memory() string {
	f, err := os.Open("/proc/meminfo")
	check(err)
	defer f.Close()
	var total, available int64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &total)
		fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &available)
	}
	return fmt.Sprintf("MemTotal=%d MemAvailable=%d", total<<10, available<<10)
}

func mark(path, text string) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(err)
	// One write, so that the kernel's messages cannot come in between.
	_, err = f.WriteString(text + "\r\n")
	check(err)
	check(f.Close())
}

func end(s os.Signal, linger time.Duration, path string) {
	log.Printf("%s: goodbye", s)
	time.Sleep(linger)
	if path != "" {
		f, err := os.Create(path)
		check(err)
		syncAll(f, "stopped in order\n")
		log.Printf("wrote %s", path)
	}
}

// records is an open file of lines "record N", from 1 upwards.
type records struct {
	file *os.File
	last int
}

// openRecords opens or creates the file, checks what it holds, and cuts off a
// last line that was written by half: it was never promised to anybody.
func openRecords(path string) *records {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	check(err)
	r := &records{file: f}
	var whole int64
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		check(err)
		if line != record(r.last+1) {
			log.Fatalf("%s: found %q after record %d", path, line, r.last)
		}
		r.last++
		whole += int64(len(line))
	}
	log.Printf("found %d records", r.last)
	check(f.Truncate(whole))
	_, err = f.Seek(whole, io.SeekStart)
	check(err)
	return r
}

func record(n int) string { return fmt.Sprintf("record %d\n", n) }

func (r *records) append() {
	r.last++
	syncAll(r.file, record(r.last))
	log.Printf("synced record %d", r.last)
}

// syncAll writes text and makes sure that it, the file and the file's name are
// on the disk.
func syncAll(f *os.File, text string) {
	_, err := f.WriteString(text)
	check(err)
	check(f.Sync())
	dir, err := os.Open(filepath.Dir(f.Name()))
	check(err)
	check(dir.Sync())
	check(dir.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
