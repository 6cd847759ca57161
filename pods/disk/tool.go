package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// The programs that the image has beside this one, from Debian's util-linux and
// e2fsprogs.
const (
	wipefs = "/usr/sbin/wipefs"
	blkid  = "/usr/sbin/blkid"
	mke2fs = "/usr/sbin/mke2fs"
	e2fsck = "/usr/sbin/e2fsck"
)

// run runs a program. It returns what the program wrote to standard output, all
// that it wrote, and its exit code. With an error there is no exit code.
func run(ctx context.Context, program string, args ...string) (stdout, said string, code int, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "BLKID_FILE=/dev/null"}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	stdout, said = out.String(), out.String()+errs.String()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return stdout, said, exit.ExitCode(), nil
	}
	if err != nil {
		err = fmt.Errorf("run %s: %w", program, err)
	}
	return stdout, said, 0, err
}

// oneLine makes a program's output fit for the log.
func oneLine(text string) string {
	const most = 600
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			lines = append(lines, line)
		}
	}
	joined := strings.Join(lines, " ")
	if len(joined) > most {
		joined = "... " + joined[len(joined)-most:]
	}
	return joined
}
