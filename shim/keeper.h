/*
 * The keeper: a process that maps, reads in and locks the listed files which would make every fork
 * of the master slow, and holds them until it is dismissed or the master ends.
 */
#ifndef KEEPER_H
#define KEEPER_H

#include "keep.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct keeper {
    pid_t process; /* 0: there is none */
    int reports;   /* a descriptor of the thread's own, until it was heard; -1 */
};

#define KEEPER_NONE                                                                                \
    {                                                                                              \
        .process = 0, .reports = -1                                                                \
    }

/*
 * Have a process for files, which are read in in this order. It is no child to the server's
 * waitpid(2), nor does its end send a SIGCHLD. For the thread of resident.h, which has descriptors
 * of its own, those of its parent.
 * @param files  with their paths; their mappings are not looked at
 * @return false: there is none; errno of pipe2(2) or clone(2)
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

/* End it, if there is one, and forget it. */
void keeper_dismiss(struct keeper *keeper);

#endif
