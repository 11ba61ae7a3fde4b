#include "libc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

_Atomic(libc_any_function *) libc_found[LIBC_FUNCTION_COUNT];

static const char *const names[LIBC_FUNCTION_COUNT] = {
#define X(result, name, parameters) [LIBC_##name] = #name,
    LIBC_FUNCTIONS(X)
#undef X
};

/* Stub for functions that this libc lacks. */
static long absent(void)
{
    errno = ENOSYS;
    return -1;
}

libc_any_function *libc_find(enum libc_function function)
{
    libc_any_function *found = (libc_any_function *)absent;
    void *symbol = dlsym(RTLD_NEXT, names[function]);
    if (symbol != NULL)
        *(void **)&found = symbol; /* ISO C has no cast to a function pointer */
    atomic_store_explicit(&libc_found[function], found, memory_order_relaxed);
    return found;
}

void libc_find_all(void)
{
    for (int function = 0; function < LIBC_FUNCTION_COUNT; function++)
        (void)libc_ready((enum libc_function)function);
}

void libc_close(int fd)
{
    int saved = errno;

    if (fd != -1)
        (void)libc_next(close)(fd);
    errno = saved;
}

size_t libc_read_file(const char *path, char *text, size_t size)
{
    int fd = libc_next(open)(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd != -1 ? libc_next(read)(fd, text, size - 1) : 0;

    libc_close(fd);
    text[length > 0 ? length : 0] = '\0';
    return strlen(text);
}

uint64_t libc_time(clockid_t clock)
{
    struct timespec time;

    (void)clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}
