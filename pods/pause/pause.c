/*
 * pause is the first process of each pod: it holds the pod's namespaces open
 * for as long as the pod lives. Where the containers of a pod share a process
 * namespace it is PID 1 there, and so has to reap what they orphan.
 *
 * It is the one program of kiOS that is not written in Go, because there is one
 * for each pod and it does nothing: the same in Go is 1.4 MB, has six threads,
 * keeps 2 MB of memory and was waiting 60 ms later on a busy machine. This is
 * 800 bytes, one thread and 12 kB. It uses no C library either, so the build
 * needs no more than the compiler that builds the kernel. The flags are in
 * host/build.
 *
 * Signals are blocked and fetched, not handled: PID 1 has no default actions,
 * but a blocked signal always arrives (pid_namespaces(7), sigwaitinfo(2)).
 *
 * It is in every pod and never does anything, so it must be of no use to anybody
 * who gets at it: it gives up all system calls but its own three (seccomp(2)).
 */

enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17 };
enum { SIG_BLOCK = 0, WNOHANG = 1 };
enum { PR_SET_SECCOMP = 22, PR_SET_NO_NEW_PRIVS = 38, SECCOMP_MODE_FILTER = 2 };

/* What depends on the architecture: the numbers of five system calls, how to
 * make one, and the name that seccomp has for it. */

#if defined(__x86_64__)

enum {
	SYS_rt_sigprocmask = 14, SYS_exit_group = 231, SYS_wait4 = 61, SYS_rt_sigtimedwait = 128,
	SYS_prctl = 157,
};

#define AUDIT_ARCH 0xc000003eu

static long syscall4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0; /* prctl(2) looks at a fifth */
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

enum {
	SYS_rt_sigprocmask = 135, SYS_exit_group = 94, SYS_wait4 = 260, SYS_rt_sigtimedwait = 137,
	SYS_prctl = 167,
};

#define AUDIT_ARCH 0xc00000b7u

static long syscall4(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = 0; /* prctl(2) looks at a fifth */

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

#else
#error "pause: add the system calls of this architecture here"
#endif

static unsigned long bit(int signal)
{
	return 1ul << (signal - 1);
}

/* A program of classic BPF; its input is struct seccomp_data. */
struct instruction { unsigned short code; unsigned char if_true, if_false; unsigned k; };
struct program { unsigned short length; const struct instruction *code; };

enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, RETURN = 0x06 };
enum { NUMBER = 0, ARCH = 4 };
#define KILL_PROCESS 0x80000000u
#define ALLOW 0x7fff0000u

static const struct instruction filter[] = {
	{LOAD, 0, 0, ARCH},
	{JUMP_IF_EQUAL, 0, 4, AUDIT_ARCH},
	{LOAD, 0, 0, NUMBER},
	{JUMP_IF_EQUAL, 3, 0, SYS_rt_sigtimedwait},
	{JUMP_IF_EQUAL, 2, 0, SYS_wait4},
	{JUMP_IF_EQUAL, 1, 0, SYS_exit_group},
	{RETURN, 0, 0, KILL_PROCESS},
	{RETURN, 0, 0, ALLOW},
};

/* A kernel without seccomp does not keep a pod from running. */
static void confine(void)
{
	struct program program = {sizeof(filter) / sizeof(filter[0]), filter};

	syscall4(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0);
	syscall4(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0);
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
	confine();
	reap(); /* children that were there before exec */
	for (;;) {
		signal = syscall4(SYS_rt_sigtimedwait, (long)&set, 0, 0, sizeof(set));
		if (signal == SIGTERM || signal == SIGINT)
			syscall4(SYS_exit_group, 0, 0, 0, 0);
		if (signal == SIGCHLD)
			reap(); /* one signal may stand for many children */
	}
}
