package main

import "syscall"

// jumpToZero has a stopped process go on at address 0.
func jumpToZero(pid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
		return err
	}
	regs.Rip, regs.Orig_rax = 0, ^uint64(0) // and not back into its system call
	return syscall.PtraceSetRegs(pid, &regs)
}
