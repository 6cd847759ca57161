//go:build guest

package sandbox

import "debug/elf"

const pauseMachine = elf.EM_AARCH64

// pauseCode calls ppoll(2) of no file, without a timeout: there is no pause(2).
const pauseCode = "\x00\x00\x80\xd2" + // mov x0, #0
	"\x01\x00\x80\xd2" + // mov x1, #0
	"\x02\x00\x80\xd2" + // mov x2, #0
	"\x03\x00\x80\xd2" + // mov x3, #0
	"\x28\x09\x80\xd2" + // mov x8, #73
	"\x01\x00\x00\xd4" + // svc #0
	"\xfa\xff\xff\x17" // b back
