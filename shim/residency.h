/*
 * Having mapped files in memory: reading them in, locking them, and telling how much is there.
 */
#ifndef RESIDENCY_H
#define RESIDENCY_H

#include "mapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct residency {
    struct mapping mapping; /* the whole file; empty: there is nothing to do */
    bool told;              /* whether mincore(2) tells the truth; see residency_map() */
    int error;              /* EIO: not all of it could be read */
    int lock_error;         /* errno of mlock(2), if not all of it could be locked */
    size_t locked;          /* bytes */
};

/*
 * Map a file, nothing of which is read in yet. Children of a fork(2) do not inherit the mapping.
 * @param status  the file's: who neither owns a file nor may write to it is told by mincore(2) that
 *                all of it is in memory
 * @return false: errno of mmap(2) or madvise(2)
 */
bool residency_map(struct residency *file, int fd, enum filesystem kind,
                   const struct stat64 *status);

/*
 * Read files in and lock them, in this order. The device is asked for several large pieces ahead,
 * across the ends of files. A file that can't be locked is read in all the same.
 * Needs guard_fault() installed.
 * @param files     `count` of them, pointers
 * @param on_piece  called before each piece: of which file, and what has been read in before,
 * bytes; false: leave the rest
 * @param lock      false: only read in
 */
void residency_read_in(struct residency *const *files, size_t count, bool lock,
                       bool (*on_piece)(size_t file, uint64_t bytes));

/* How much of a file is in the page cache, bytes. @return UINT64_MAX: it can't be told */
uint64_t residency_bytes(const struct residency *file);

#endif
