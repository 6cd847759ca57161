// Package guest compiles the small programs that tests run inside virtual
// machines.
package guest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"

	"kios/host/arch"
)

// Compile compiles a program for a container without libraries: one in a folder
// beside this file, or hello, which is an example for users, too.
func Compile(a arch.Arch, out, program string) error {
	pkg := "kios/test/guest/" + program
	if program == "hello" {
		pkg = "kios/pods/hello"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = slices.Concat(os.Environ(), a.Go, []string{"CGO_ENABLED=0"})
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s: %w", program, err)
	}
	return nil
}
