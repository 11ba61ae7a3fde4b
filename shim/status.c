#include "status.h"

#include "libc.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "xfermmap"

struct counters {
    struct status_header header;
    _Atomic uint64_t values[STATUS_COUNTER_COUNT];
};

static struct counters of_this_process;
static struct counters *counters = &of_this_process;

static const struct trouble {
    enum status_counter counter;
    const char *advice;
} troubles[] = {
    {STATUS_FAULTS, "a file shrank, or its disk failed, while it was sent: the kernel answered "
                    "instead; replace files by rename(2) rather than in place"},
    {STATUS_REFUSED, "the kernel refused to map a file, which is served by read() instead; see "
                     "ulimit -v and vm.max_map_count"},
    {STATUS_FULL, "more files open at once than the library follows; these are served by read()"},
};

static bool is_status_file(const char *path)
{
    struct status_header header = {.version = 0};
    int fd = libc_next(open)(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd == -1)
        return false;
    bool whole = libc_next(read)(fd, &header, sizeof header) == sizeof header;
    (void)libc_next(close)(fd);
    return whole && memcmp(header.name, NAME, sizeof header.name) == 0;
}

/* @return descriptor, -1: errno */
static int create_file(const char *path)
{
    if (!log_directory_safe(path)) {
        errno = EPERM;
        return -1;
    }
    /* A former server's file goes: its sessions may still count in there. */
    if (is_status_file(path))
        (void)unlink(path);
    int fd = libc_next(open)(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd == -1)
        return -1;
    /* allocated, for a file with holes on a full disk faults when it is written to */
    int failure = fchmod(fd, 0644) == -1 ? errno : posix_fallocate(fd, 0, sizeof of_this_process);
    if (failure == 0)
        return fd;
    (void)libc_next(close)(fd);
    (void)unlink(path);
    errno = failure;
    return -1;
}

bool status_share(const char *path)
{
    int fd = path != NULL ? create_file(path) : -1;
    int anonymous = fd == -1 ? MAP_ANONYMOUS : 0;
    int saved = errno;
    struct counters *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | anonymous, fd, 0);

    if (shared != MAP_FAILED) {
        memcpy(shared->header.name, NAME, sizeof shared->header.name);
        shared->header.version = STATUS_VERSION;
        shared->header.counters = STATUS_COUNTER_COUNT;
        counters = shared;
    }
    if (fd != -1)
        (void)libc_next(close)(fd);
    errno = saved;
    return path == NULL || fd != -1;
}

void status_add(enum status_counter counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&counters->values[counter], amount, memory_order_relaxed);
}

bool status_lost(const void *address)
{
    uintptr_t start = (uintptr_t)counters, within = (uintptr_t)address - start;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

    return counters != &of_this_process && within < sizeof *counters &&
           mmap(counters, sizeof *counters, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
}

uint64_t status_get(enum status_counter counter)
{
    return atomic_load_explicit(&counters->values[counter], memory_order_relaxed);
}

void status_log_trouble(void)
{
    static bool told[STATUS_COUNTER_COUNT];

    for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++) {
        enum status_counter counter = troubles[i].counter;
        if (told[counter] || status_get(counter) == 0)
            continue;
        told[counter] = true;
        log_line("%s", troubles[i].advice);
    }
}
