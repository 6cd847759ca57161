package main

import "golang.org/x/sys/unix"

// jumpToZero has a stopped process go on at address 0. The kernel restarts a system call
// only where the address is still that of the call, so it is not to be told.
func jumpToZero(pid int) error {
	var regs unix.PtraceRegsArm64
	if err := unix.PtraceGetRegSetArm64(pid, unix.NT_PRSTATUS, &regs); err != nil {
		return err
	}
	regs.Pc = 0
	return unix.PtraceSetRegSetArm64(pid, unix.NT_PRSTATUS, &regs)
}
