/*
 * pause is the first process of each pod: it holds the pod's namespaces open
 * for as long as the pod lives. Where the containers of a pod share a process
 * namespace it is PID 1 there, and so has to reap what they orphan.
 *
 * It is the one program of kiOS that is not written in Go, because there is one
 * for each pod and it does nothing: the same in Go is 1.4 MB, has six threads,
 * keeps 2 MB of memory and was waiting 60 ms later on a busy machine. This is
 * 560 bytes, one thread and 12 kB. It uses no C library either, so the build
 * needs no more than the compiler that builds the kernel. The flags are in
 * internal/pause.
 *
 * Signals are blocked and fetched, not handled: PID 1 has no default actions,
 * but a blocked signal always arrives (pid_namespaces(7), sigwaitinfo(2)).
 */

enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17 };
enum { SIG_BLOCK = 0, WNOHANG = 1 };

/* What depends on the architecture: the numbers of four system calls, how to
 * make one, and the entry point. */

#if defined(__x86_64__)

enum { SYS_rt_sigprocmask = 14, SYS_exit_group = 231, SYS_wait4 = 61, SYS_rt_sigtimedwait = 128 };

static long syscall4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

#else
#error "pause: add the system calls of this architecture here"
#endif

static unsigned long bit(int signal)
{
	return 1ul << (signal - 1);
}

static void reap(void)
{
	while (syscall4(SYS_wait4, -1, 0, WNOHANG, 0) > 0)
		;
}

/* The kernel enters here, without a return address: never return. */
__attribute__((noreturn, used)) void _start(void)
{
	unsigned long set = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
	long signal;

	syscall4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&set, 0, sizeof(set));
	reap(); /* children that were there before exec */
	for (;;) {
		signal = syscall4(SYS_rt_sigtimedwait, (long)&set, 0, 0, sizeof(set));
		if (signal == SIGTERM || signal == SIGINT)
			syscall4(SYS_exit_group, 0, 0, 0, 0);
		if (signal == SIGCHLD)
			reap(); /* one signal may stand for many children */
	}
}
