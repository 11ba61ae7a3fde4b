/*
 * A child of vfork(2) runs in its parent's memory, but has descriptors and dispositions of signals
 * of its own. What the library knows of both is the parent's, and not for the child to change.
 */
#ifndef BORROWED_H
#define BORROWED_H

#include <stdbool.h>
#include <unistd.h>

/* The process that has called vfork(2) in this thread, which is the child's thread, too: but for
 * the process number nothing tells them apart. 0: none has. */
extern _Thread_local pid_t memory_lender;

/* This thread is about to call vfork(2). */
void memory_lend(void);

/* This process was forked, and has memory of its own. Async-signal-safe. */
void memory_own(void);

/* Whether this process is the child of a vfork(2). Async-signal-safe; keeps errno. */
static inline bool memory_is_borrowed(void)
{
    return memory_lender != 0 && getpid() != memory_lender;
}

#endif
