/*
 * Having mapped files in memory: reading them in, locking them, and counting what is resident. For
 * the keeper: not async-signal-safe. Sizes and offsets are in bytes.
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
    bool mincore_works;     /* see residency_map() */
    bool gently;            /* read in without asking the device ahead */
    int error;              /* EIO: not all of it could be read; 0 */
    int lock_error;         /* errno of mlock(2), if not all of it could be locked; 0 */
    size_t locked;
};

enum residency_mode { RESIDENCY_READ, RESIDENCY_LOCK };

/* @param bytes  what has been read in so far  @return false: leave the rest */
typedef bool residency_progress(size_t file, uint64_t bytes);

/*
 * Map a file and read nothing yet. Children of a fork(2) do not inherit the mapping.
 * @param status  the file's: to a process that neither owns the file nor may write to it mincore(2)
 *                reports all pages as resident
 * @return false: errno of mmap(2) or madvise(2)
 */
bool residency_map(struct residency *file, int fd, enum filesystem kind,
                   const struct stat64 *status);

/*
 * Read files in, in this order, and lock them. A file that can't be locked is read in all the same.
 * Needs guard_fault() installed.
 * @param on_piece  called before a file is touched, and before each of its pieces is read in
 */
void residency_read_in(struct residency *const *files, size_t count, enum residency_mode mode,
                       residency_progress *on_piece);

/* @return how much of a file is in the page cache; UINT64_MAX: not known */
uint64_t residency_bytes(const struct residency *file);

#endif
