#include "textflag.h"

// func asSent()
//
// The kernel calls it with the signal's number in DI, its siginfo in SI and the
// context in DX, as it calls Go's handler, which all of them are passed on to. In
// siginfo, si_code is at offset 8; SI_USER, the code of kill(2), is 0.
TEXT ·asSent(SB), NOSPLIT|NOFRAME, $0
	CMPL	8(SI), $0
	JGE	pass
	MOVL	$0, 8(SI)
pass:
	MOVQ	·next(SB), AX
	JMP	AX

// func addressOfAsSent() uintptr
TEXT ·addressOfAsSent(SB), NOSPLIT, $0-8
	LEAQ	·asSent(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
