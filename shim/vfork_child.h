/*
 * A child of vfork(2) runs in its parent's memory, but has descriptors and dispositions of signals
 * of its own. What the library knows of both is the parent's, and not for the child to change.
 */
#ifndef VFORK_CHILD_H
#define VFORK_CHILD_H

#include <stdbool.h>
#include <unistd.h>

/* The process that has called vfork(2) in this thread, which is the child's thread, too: but for
 * the process number nothing tells them apart. 0: none has. */
extern _Thread_local pid_t vfork_parent;

/* This thread is about to call vfork(2). */
void vfork_begin(void);

/* This process was forked, and has memory of its own. Async-signal-safe. */
void vfork_forget(void);

/* Whether this process is the child of a vfork(2). Async-signal-safe; keeps errno. */
static inline bool is_vfork_child(void)
{
    return vfork_parent != 0 && getpid() != vfork_parent;
}

#endif
