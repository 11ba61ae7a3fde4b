#include "critical.h"

#include "debug.h"
#include "libc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static atomic_flag lock = ATOMIC_FLAG_INIT;
static _Thread_local unsigned depth; /* changed with signals blocked only */

void critical_block_signals(sigset_t *former)
{
    sigset_t all;

    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    (void)libc_next(pthread_sigmask)(SIG_BLOCK, &all, former);
}

struct critical critical_enter(void)
{
    struct critical section;

    critical_block_signals(&section.signals);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &section.cancel_state);
    if (depth++ == 0) {
        while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
            sched_yield();
    }
    return section;
}

#ifdef XFERMMAP_DEBUG
bool critical_is_entered(void)
{
    return depth > 0;
}
#endif

void critical_leave(const struct critical *section)
{
    int unused;

    assert(critical_is_entered());
    if (--depth == 0)
        atomic_flag_clear_explicit(&lock, memory_order_release);
    (void)pthread_setcancelstate(section->cancel_state, &unused);
    (void)libc_next(pthread_sigmask)(SIG_SETMASK, &section->signals, NULL);
}
