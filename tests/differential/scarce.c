/*
 * Preload it after the library: it refuses every third mapping of a file, as if address space or
 * vm.max_map_count were used up, and every third lock. The library's calls of libc come here.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_uint asked;

static bool refused(int error)
{
    if (atomic_fetch_add(&asked, 1) % 3 != 2)
        return false;
    errno = error;
    return true;
}

/* Readable and shared, so it is the library's window of a file. */
static bool is_window(int protection, int flags, int fd)
{
    return fd != -1 && protection == PROT_READ && (flags & MAP_SHARED) != 0;
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
    if (is_window(protection, flags, fd) && refused(ENOMEM))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap64(address, length, protection, flags, fd, offset);
}

int mlock(const void *address, size_t length)
{
    return refused(ENOMEM) ? -1 : (int)syscall(SYS_mlock, address, length);
}
