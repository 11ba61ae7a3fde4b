/*
 * The critical section: for steps whose halves must not be seen apart, also by a fork. No signal
 * handler, cancellation or second thread enters it. There is one lock; ordinary reads never take
 * it. All functions are async-signal-safe and preserve errno.
 */
#ifndef CRITICAL_H
#define CRITICAL_H

#include <signal.h>
#include <stdbool.h>

struct critical {
    sigset_t signals;
    int cancel_state;
};

/*
 * Enter the section, again if the thread is in it already. All signals are blocked but SIGBUS and
 * SIGSEGV, which would kill. The holder can't be interrupted, so a handler that waits for the lock
 * waits for another thread, which continues.
 */
struct critical critical_enter(void);

/* Block all signals but SIGBUS and SIGSEGV. @param former  out: the mask so far */
void critical_block_signals(sigset_t *former);

/* Leave it and restore signals and cancellation. */
void critical_leave(const struct critical *section);

#ifdef XFERMMAP_DEBUG
/* True if the calling thread is in the section. */
bool critical_is_entered(void);
#endif

#endif
