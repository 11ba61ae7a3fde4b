/*
 * The child of a vfork(2) runs in its parent's memory and thread, but has its own descriptors and
 * signal dispositions. What the library knows of both is the parent's: the child must not change
 * it. All functions are async-signal-safe and preserve errno.
 */
#ifndef VFORK_CHILD_H
#define VFORK_CHILD_H

#include <stdbool.h>
#include <unistd.h>

/* The process that called vfork(2) in this thread; 0: none. Only the process number tells its child
 * from it. */
extern _Thread_local pid_t vfork_parent;

/* This thread is about to call vfork(2). */
void vfork_begin(void);

/* This process was forked, with a copy of the memory. */
void vfork_forget(void);

/* True in the child of a vfork(2). */
static inline bool is_vfork_child(void)
{
    return vfork_parent != 0 && getpid() != vfork_parent;
}

#endif
