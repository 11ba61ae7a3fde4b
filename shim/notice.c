#include "notice.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLAGS = 1 << 16 };

/* Sessions can write here anything: no semaphore of libc's, which ends the process over a wrong
 * one. */
static struct notices {
    _Atomic uint32_t knocks;
    atomic_uchar flags[FLAGS]; /* 0: not set */
} * shared;                    /* NULL: this is no master, nor a session of one */

static uint32_t answered; /* knocks; the thread's own */

/* Not shared: what the master watches, as it was when this process was forked. */
static _Atomic uint8_t watched[FLAGS / 8];

bool notice_share(void)
{
    const int flags = MAP_SHARED | MAP_ANONYMOUS;
    void *memory =
        shared != NULL ? shared : mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (memory == MAP_FAILED)
        return false;
    shared = memory;
    return true;
}

/* FNV-1a, of the last component. */
unsigned notice_flag(const char *path)
{
    const char *slash = strrchr(path, '/');
    uint32_t hash = 2166136261U;

    for (const char *c = slash != NULL ? slash + 1 : path; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    return (hash ^ hash >> 16) % FLAGS;
}

void notice_watch(unsigned flag)
{
    atomic_fetch_or(&watched[flag / 8], (uint8_t)(1U << flag % 8));
}

void notice_watch_none(void)
{
    for (unsigned i = 0; i < FLAGS / 8; i++)
        atomic_store_explicit(&watched[i], 0, memory_order_relaxed);
}

void notice_send(const char *path)
{
    if (shared == NULL)
        return;
    unsigned flag = notice_flag(path);
    bool is_watched = (atomic_load(&watched[flag / 8]) >> flag % 8 & 1) != 0;
    if (is_watched && atomic_exchange(&shared->flags[flag], 1) == 0)
        notice_wake();
}

bool notice_take(unsigned flag)
{
    return atomic_load(&shared->flags[flag]) != 0 && atomic_exchange(&shared->flags[flag], 0) != 0;
}

void notice_wait(int milliseconds)
{
    /* what the kernel calls a timespec in this call, on every machine */
    const long timeout[2] = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

    if (atomic_load(&shared->knocks) == answered)
        (void)syscall(SYS_futex, &shared->knocks, FUTEX_WAIT, answered,
                      milliseconds < 0 ? NULL : timeout, NULL, 0);
    answered = atomic_load(&shared->knocks); /* one look at the flags answers all who knocked */
}

void notice_wake(void)
{
    int saved = errno;

    if (shared != NULL) {
        atomic_fetch_add(&shared->knocks, 1);
        (void)syscall(SYS_futex, &shared->knocks, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    errno = saved;
}
