/*
 * The keeper: a process that maps, reads in and locks the listed files which would make every fork
 * of the master slow, and holds them until it is dismissed or the master ends.
 */
#ifndef KEEPER_H
#define KEEPER_H

#include "keep.h"

#include <stdbool.h>
#include <stddef.h>

/* All that is known of it: no number of a process, which somebody else may have by now. */
struct keeper {
    int line; /* a socket of the thread's own; closed, it ends the keeper; -1: there is none */
};

#define KEEPER_NONE                                                                                \
    {                                                                                              \
        .line = -1                                                                                 \
    }

/*
 * Have a process for files, which are read in in this order. It is no child of the server's, to no
 * kind of wait, nor does its end send a SIGCHLD; but where orphans become children of the server,
 * as of process 1 of a container, it is an orphan. For the thread of resident.h, whose descriptors
 * are its own, and so are closed when the thread ends: with its process, or as that executes
 * another program, whatever rights either has by then.
 * @param files  with their paths; their mappings are not looked at
 * @return false: there is none; errno of socketpair(2) or clone(2)
 */
bool keeper_employ(struct keeper *keeper, struct kept *files, size_t count);

/*
 * Wait until it has read in all of them. Sets the error of those that failed, as keep_files() does,
 * or as of open(2) and mmap(2).
 * @param give_up  asked several times a second
 * @return false: given up, ECANCELED; or it has ended, ECHILD
 */
bool keeper_hear(struct keeper *keeper, struct kept *files, size_t count, bool (*give_up)(void));

/* Whether it has ended though it was not dismissed: then there is none from now on. */
bool keeper_has_ended(struct keeper *keeper);

/* Have it end, if there is one, and forget it. It ends as soon as it is not waiting for a disk. */
void keeper_dismiss(struct keeper *keeper);

#endif
