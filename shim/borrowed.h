/*
 * A child of vfork(2) runs in its parent's memory, but has descriptors and dispositions of signals
 * of its own. What the library knows of both is the parent's, and not for the child to change.
 */
#ifndef BORROWED_H
#define BORROWED_H

#include <stdbool.h>

/* This thread is about to call vfork(2). */
void memory_lend(void);

/* This process was forked, and has memory of its own. Async-signal-safe. */
void memory_own(void);

/* Whether this process is the child of a vfork(2). Async-signal-safe; keeps errno. */
bool memory_is_borrowed(void);

#endif
