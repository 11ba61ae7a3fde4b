/*
 * Copying from a mapping that may fault: a file was truncated, a disk fails, or the buffer is not
 * the caller's. The kernel's read() returns a count or an errno then; memcpy() would end the
 * process. All functions are async-signal-safe and preserve errno.
 */
#ifndef GUARD_H
#define GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The signals_hook of SIGBUS and SIGSEGV, to be installed before the first copy.
 * @return false: the signal is the program's. Else guard_copy() returns false, and this does not
 *         return
 */
bool guard_fault(int number, siginfo_t *info, void *context);

/* True if a copy may be tried: a fault while its signal is blocked kills the process (signal(7),
 * "force_sig"). Makes a system call only after the mask may have changed. */
bool guard_ready(void);

/* This thread's signal mask may have changed. */
void guard_mask_changed(void);

/* The program installs a disposition. If its handler runs with SIGBUS or SIGSEGV blocked,
 * guard_ready() makes the system call each time from now on. */
void guard_disposition(int number, const struct sigaction *action);

/* Copy `length` bytes, only after guard_ready() returned true.
 * @return false: source or destination faulted; some bytes may have been copied */
bool guard_copy(void *to, const void *from, size_t length);

#endif
