/*
 * A child process for what may wait for a disk, and for ever: walking paths, opening and reading
 * files that lie anywhere. Its parent watches it, gives up on a path at which it stays for too
 * long, and starts another one, which passes over that path.
 *
 * There is one lookout at a time. Not for processes of the server's: it is a child to wait for.
 */
#ifndef LOOKOUT_H
#define LOOKOUT_H

#include <stdbool.h>
#include <stdint.h>

enum { LOOKOUT_SECONDS = 10 /* for each step at a path, until it is given up */ };

enum lookout_event {
    LOOKOUT_CHILD,  /* this is the child */
    LOOKOUT_FAILED, /* there is none; errno of pipe(2), mmap(2) or fork(2); EAGAIN: too many hang */
    LOOKOUT_NOTHING,   /* so far */
    LOOKOUT_DONE,      /* it has exited */
    LOOKOUT_SUCCESSOR, /* it is done, and takes the parent's place */
    LOOKOUT_STUCK      /* at lookout_stuck_at(); or it was killed there */
};

/* ---- the parent ---- */

/* Fork. @return LOOKOUT_CHILD, LOOKOUT_FAILED, or, in the parent, LOOKOUT_NOTHING */
enum lookout_event lookout_begin(void);

/* Becomes readable with an event; -1: there is no child. LOOKOUT_STUCK comes without. */
int lookout_descriptor(void);

/*
 * What has become of the child; does not wait. After any other event than LOOKOUT_NOTHING there is
 * none.
 * @param exit_status  out, with LOOKOUT_DONE
 */
enum lookout_event lookout_look(int *exit_status);

/* The path or wildcard where the last child was stuck; a directory, with a slash at its end, if it
 * was the second one in there. */
const char *lookout_stuck_at(void);

/* End the child, if there is one. It is gone once it stops waiting for its disk. */
void lookout_end(void);

/* ---- both ---- */

/* Whether a path did not answer. It is tried again after a minute, if the child that was stuck
 * there is gone by then. */
bool lookout_is_stuck(const char *path);

/* ---- the child ---- */

/* Note what is touched next. To be repeated between two steps that may take long. */
void lookout_at(const char *path);

/* Take the parent's place: it hears of LOOKOUT_SUCCESSOR. */
void lookout_succeed(void);

#endif
