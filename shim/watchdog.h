/*
 * A child process for what may hang on a disk: walking paths, opening and reading files. The parent
 * watches it, kills it if it stays at one path for too long, and forks another one, which passes
 * over that path.
 *
 * There is one child at a time. Not for the server's processes: it is a child to wait for.
 */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <stdbool.h>

enum { WATCHDOG_SECONDS = 10 /* for each step at a path */ };

enum watchdog_event {
    WATCHDOG_CHILD,  /* this is the child */
    WATCHDOG_FAILED, /* no child: errno of pipe(2), mmap(2) or fork(2); EAGAIN: too many hang */
    WATCHDOG_RUNNING,
    WATCHDOG_EXITED,
    WATCHDOG_REPLACED, /* the child has called watchdog_replace_parent() */
    WATCHDOG_HUNG      /* at watchdog_hung_path(), or it was killed there */
};

/* ---- the parent ---- */

/* @return WATCHDOG_CHILD, WATCHDOG_FAILED, or, in the parent, WATCHDOG_RUNNING */
enum watchdog_event watchdog_fork(void);

/* A descriptor that becomes readable with an event other than WATCHDOG_HUNG; -1: no child. */
int watchdog_descriptor(void);

/*
 * What has become of the child; does not wait. After any event but WATCHDOG_RUNNING there is none.
 * @param exit_status  out, with WATCHDOG_EXITED
 */
enum watchdog_event watchdog_poll(int *exit_status);

/* The path or wildcard where the last child hung; or its directory, with a slash at the end, if
 * another path in there had hung before. */
const char *watchdog_hung_path(void);

/* Kill the child, if there is one. It ends once it no longer waits for its disk. */
void watchdog_kill(void);

/* ---- parent and child ---- */

/* True if a path is to be passed over. It is tried again after a minute, if the child that hung
 * there has ended by then. */
bool watchdog_is_hung(const char *path);

/* True if that is so of any path. */
bool watchdog_has_hung(void);

/* ---- the child ---- */

/* Call this before each step that may hang: it restarts the clock. */
void watchdog_touch(const char *path);

/* Take the parent's place: the parent gets WATCHDOG_REPLACED. */
void watchdog_replace_parent(void);

#endif
