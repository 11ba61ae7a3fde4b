/*
 * Copying from a mapping that may fault: a file that was truncated, a disk error, or a buffer that
 * the caller doesn't own. The kernel's read() answers all of these with a count or an errno; a
 * plain memcpy() would end the process.
 */
#ifndef GUARD_H
#define GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Handle a SIGBUS or SIGSEGV, before the program does; see signals_chain(). Must be installed
 * before the first copy.
 * @return true: a copy faulted, and guard_copy() has returned false; does not return then
 * @return false: the signal is the program's
 */
bool guard_fault(int number, siginfo_t *info, void *context);

/*
 * Whether a copy may be tried now: a fault while its signal is blocked kills the process, whatever
 * handler stands (signal(7), "force_sig"). Costs a system call only after the mask may have
 * changed.
 */
bool guard_ready(void);

/* Tell that this thread's signal mask may have changed. */
void guard_mask_changed(void);

/*
 * Tell of a disposition that the program asks for. After one whose handler runs with SIGBUS or
 * SIGSEGV blocked, the mask changes behind the library's back, and guard_ready() always asks.
 */
void guard_disposition(int number, const struct sigaction *action);

/*
 * Copy `length` bytes. False: source or destination faulted; some bytes may have been copied.
 * Async-signal-safe; only after guard_ready() said true.
 */
bool guard_copy(void *to, const void *from, size_t length);

#endif
