/*
 * The section that no signal handler, no cancellation and no second thread can enter: for the few
 * steps whose halves must not be seen apart, by a fork either. One lock for the whole library, and
 * never on the way of an ordinary read.
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
 * Enter the section, all signals blocked but SIGBUS and SIGSEGV: a fault inside is a fault, and
 * blocked it would kill. A thread that is in the section may enter again. Whoever is inside can't
 * be interrupted, so one who waits, even in a handler, waits for a thread that goes on. Keeps
 * errno.
 */
struct critical critical_enter(void);

/* Leave it and restore signals and cancellation as they were. Keeps errno. */
void critical_leave(const struct critical *section);

#ifdef XFERMMAP_DEBUG
/* True if the calling thread is in the section. */
bool critical_is_entered(void);
#endif

#endif
