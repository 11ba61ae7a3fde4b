#include "notice.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FLAGS = 1 << 16 };

static struct notices {
    sem_t woken;
    atomic_bool flags[FLAGS];
} *shared; /* NULL: this is no master, nor a session of one */

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
    return sem_init(&shared->woken, 1, 0) == 0;
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
    if (is_watched && !atomic_exchange(&shared->flags[flag], true))
        notice_wake();
}

bool notice_take(unsigned flag)
{
    return atomic_load(&shared->flags[flag]) && atomic_exchange(&shared->flags[flag], false);
}

void notice_wait(int milliseconds)
{
    struct timespec until;

    if (milliseconds < 0) {
        (void)sem_wait(&shared->woken);
    } else {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += milliseconds / 1000 + (until.tv_nsec + milliseconds % 1000 * 1000000L) / 1000000000;
        until.tv_nsec = (until.tv_nsec + milliseconds % 1000 * 1000000L) % 1000000000;
        (void)sem_clockwait(&shared->woken, CLOCK_MONOTONIC, &until);
    }
    while (sem_trywait(&shared->woken) == 0) /* one look at the flags answers all who knocked */
        ;
}

void notice_wake(void)
{
    int saved = errno;

    if (shared != NULL)
        (void)sem_post(&shared->woken);
    errno = saved;
}
