// Preloaded into the kernel's build: asks for huge pages where a program maps
// much memory at once, as GCC does for its own heap. It then takes one page
// fault where it took 512. Most distributions give huge pages to those only
// who ask (/sys/kernel/mm/transparent_hugepage/enabled says "madvise"), and
// glibc.malloc.hugetlb reaches malloc only, which GCC's heap is not.
// See https://docs.kernel.org/admin-guide/mm/transhuge.html

#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Half a huge page: neighbouring maps become one, which may hold a whole one.
enum { large = 1 << 20 };

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	// Not through dlsym: the loader itself may map memory.
	void *p = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
	if (p != MAP_FAILED && (flags & MAP_ANONYMOUS) && length >= large) {
		// Only a wish: a kernel without huge pages says EINVAL.
		int saved = errno;
		madvise(p, length, MADV_HUGEPAGE);
		errno = saved;
	}
	return p;
}
