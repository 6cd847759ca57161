package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/hosttool"
)

// pauseFlags are the arguments for GCC before "-o OUT SOURCE", besides those of the
// architecture.
var pauseFlags = []string{
	"-std=c11", "-Wall", "-Wextra", "-Werror", "-Os",
	// Neither C library nor start-up code.
	"-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pie",
	// Nothing that needs a library at run time, whatever this compiler's
	// distribution has made a default.
	"-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-ident",
	// One small segment instead of page-aligned ones, and no stack that can
	// be executed.
	"-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack", "-Wl,--nmagic", "-Wl,--strip-all",
}

// compilePause compiles pods/pause/pause.c, whose comment says what it is and why
// it is written in C. The result depends on the source, the flags and the version
// of the compiler, and on nothing else: no path, time or build ID.
func compilePause(ctx context.Context, a arch.Arch, source, out string) error {
	args := slices.Concat(pauseFlags, a.PauseFlags, []string{"-o", out, source})
	text, err := hosttool.Exec(ctx, a.Tool("gcc"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile %s: %w (if the compiler is missing: apt-get install %s)\n%s", source, err, strings.Join(a.ToolPackages(), " "), text)
	}
	return nil
}
