/*
 * Reading mapped files in, and locking them: what takes long of keeping files in memory. Allocates
 * nothing, so that a process can do it that was forked off a thread.
 */
#ifndef KEEP_H
#define KEEP_H

#include "mapping.h"

#include <stdbool.h>
#include <stddef.h>

/* A mapped file to be kept. */
struct kept {
    size_t index; /* the caller's, for which file this is; and its path */
    const char *path;
    struct mapping mapping;
    bool lock; /* shall be locked, not only read in */
    int error; /* 0; if not before, it is left alone. out: EIO, it could not be read; or, of what
                  was read in up to there and could not be locked, as of mlock(2) */
};

/*
 * Read files in, in this order, and lock them. The device is asked for several large pieces ahead,
 * across the ends of files.
 * @param give_up  asked between pieces; true: leave the rest
 * @return false: given up
 */
bool keep_files(struct kept *files, size_t count, bool (*give_up)(void));

#endif
