#include "textflag.h"

GLOBL next<>(SB), NOPTR, $8

// The kernel calls asSent with the signal's number in DI, its siginfo in SI and the
// context in DX, as it calls Go's handler, which all of them are passed on to. In
// siginfo, si_code is at offset 8; SI_USER, the code of kill(2), is 0. Signal 16 is
// SIGSTKFLT, which no processor causes any more, so that its code is whatever the
// sender has the kernel put there.
TEXT asSent<>(SB), NOSPLIT|NOFRAME, $0
	CMPL	DI, $16
	JEQ	sent
	CMPL	8(SI), $0
	JGE	pass
sent:
	MOVL	$0, 8(SI)
pass:
	MOVQ	next<>(SB), AX
	JMP	AX

// func inFrontOf(handler uintptr) uintptr
TEXT ·inFrontOf(SB), NOSPLIT, $0-16
	MOVQ	handler+0(FP), AX
	LEAQ	asSent<>(SB), BX
	CMPQ	AX, BX
	JEQ	done
	MOVQ	AX, next<>(SB)
done:
	MOVQ	BX, ret+8(FP)
	RET

TEXT returns<>(SB), NOSPLIT|NOFRAME, $0
	RET

// func nothing() uintptr
TEXT ·nothing(SB), NOSPLIT, $0-8
	LEAQ	returns<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
