package modprobe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/cmdline"

	"golang.org/x/sys/unix"
)

// BootParams returns the words of the kernel command line.
func BootParams() cmdline.Params {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil // then nobody gave a parameter that could be read
	}
	return cmdline.Parse(string(line))
}

// Present reports whether a module is loaded, or built in and visible in sysfs,
// which is mounted at the given place.
func Present(sysfs, name string) bool {
	_, err := os.Stat(filepath.Join(sysfs, "module", filepath.Base(Normalize(name))))
	return err == nil
}

// Insert loads the module in file. It returns false and no error if the module
// is loaded already. The error names the cause.
func Insert(file string, params []string) (loaded bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), strings.Join(params, " "), 0)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load %s: %w%s", file, err, explain(err, params))
	}
	return true, nil
}

// explain adds to the kernel's error what it means here: see finit_module(2),
// and module_sig_check() in the kernel for how it refuses signatures.
func explain(err error, params []string) string {
	cause := ""
	switch {
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EBADMSG), errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOPKG):
		cause = "it is not signed with this kernel's key: only modules of the build that the kernel comes from load"
	case errors.Is(err, unix.ENOEXEC):
		cause = "it is no module, or one of another kernel"
	case errors.Is(err, unix.ENOENT):
		cause = "it needs a function that neither the kernel nor a loaded module has; the kernel's log names it"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		cause = "its device is not there"
	case (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE)) && len(params) > 0:
		cause = fmt.Sprintf("probably a value in its parameters (%s); the kernel's log tells which", strings.Join(params, " "))
	case errors.Is(err, unix.EPERM):
		cause = "the capability SYS_MODULE is missing, or the kernel is told to load none (module_blacklist= on its command line, kernel.modules_disabled)"
	}
	if cause == "" {
		return "; the kernel's log may tell more"
	}
	return ": " + cause
}
