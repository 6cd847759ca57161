// Package guest compiles the small programs that tests run inside virtual
// machines.
package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Compile compiles the program of a name, a folder beside this file, for a
// container without libraries, and returns the path of the binary in dir.
func Compile(dir, program string) (string, error) {
	bin := filepath.Join(dir, program)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "kios/test/guest/"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("compile %s: %w", program, err)
	}
	return bin, nil
}
