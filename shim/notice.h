/*
 * What sessions tell the master's thread: that a listed file may have changed. They can set flags,
 * known by the name of the file, and wake it; nothing more is ever taken from them.
 */
#ifndef NOTICE_H
#define NOTICE_H

#include <stdbool.h>

/*
 * Share the flags with all processes that are forked from now on. A process whose parent shared
 * them goes on with the same.
 * @return false: no memory for it, errno of mmap(2)
 */
bool notice_share(void);

/*
 * Which flag stands for a path: files with the same last component have the same one, whatever
 * directory they are seen from, and by chance others may.
 */
unsigned notice_flag(const char *path);

/* The master: what to watch from now on; only such flags are ever set by sessions. */
void notice_watch(unsigned flag);
void notice_watch_none(void);

/*
 * A file was opened that is not among the listed ones as they were last seen: tell the master if
 * one with its name is watched. Async-signal-safe. Keeps errno.
 */
void notice_send(const char *path);

/* Take a flag back. @return whether it was set */
bool notice_take(unsigned flag);

/*
 * The thread: wait until woken; not at all if somebody did since the last wait. May return sooner.
 * @param milliseconds  at most; negative: for ever
 */
void notice_wait(int milliseconds);

/* Wake the thread. Async-signal-safe. Keeps errno. */
void notice_wake(void);

#endif
