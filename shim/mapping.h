/*
 * A range of a file in memory. All functions are async-signal-safe. Offsets and lengths are in
 * bytes.
 */
#ifndef MAPPING_H
#define MAPPING_H

#include "filesystem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct mapping {
    char *memory;  /* NULL: nothing is mapped, and `length` is 0 */
    off64_t start; /* in the file, a multiple of the page size */
    size_t length;
};

/*
 * Map a range of a file, shared and read-only: it shows the page cache that read() copies from.
 * @param kind   from filesystem_of()
 * @param start  a multiple of the page size
 * @return false: errno of mmap(2), `mapping` is empty
 */
bool mapping_map(struct mapping *mapping, int fd, enum filesystem kind, off64_t start,
                 size_t length);

/* What an administrator can do about an errno of mmap(2). @return part of a sentence, which follows
 * the error's text */
const char *mapping_remedy(int failure);

/* Unmap, if anything is mapped. Preserves errno. */
void mapping_unmap(struct mapping *mapping);

/* The memory of an offset in the file. @param available  out: how much is mapped from there on
 * @return NULL: the offset is not within the mapping */
const char *mapping_at(const struct mapping *mapping, off64_t offset, size_t *available);

#endif
