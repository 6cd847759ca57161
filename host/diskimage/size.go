package diskimage

import (
	"fmt"
	"strconv"
	"strings"
)

// units are those of qemu-img: powers of 1024.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"T", 1 << 40},
	{"G", 1 << 30},
	{"M", 1 << 20},
	{"K", 1 << 10},
	{"", 1},
}

// ParseSize reads a size such as 4G, 512M, 4GiB or a number of bytes. Units
// are powers of 1024.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("size %q is not a number with a unit, such as 4G or 512M", s)
	text := strings.ToUpper(strings.TrimSpace(s))
	text = strings.TrimSuffix(strings.TrimSuffix(text, "B"), "I")
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 {
			return 0, bad
		}
		if n > 1<<50/u.bytes {
			return 0, fmt.Errorf("size %q is more than 1024T", s)
		}
		return n * u.bytes, nil
	}
	return 0, bad
}

// FormatSize prints a size as ParseSize reads it, in the largest unit that
// needs no fraction, or else in MiB rounded up.
func FormatSize(n int64) string {
	for _, u := range units[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	if n < mib {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	return strconv.FormatInt((n+mib-1)/mib, 10) + "M"
}
