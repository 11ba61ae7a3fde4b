/*
 * A range of a file in memory. All functions are async-signal-safe.
 */
#ifndef MAPPING_H
#define MAPPING_H

#include "filesystem.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct mapping {
    char *memory;  /* NULL: nothing is mapped */
    off64_t start; /* in the file, bytes; a multiple of the page size */
    size_t length; /* bytes */
};

/*
 * Map `length` bytes of a file from `start` on, shared and read-only: what is seen is the page
 * cache that read() would copy from.
 * @param kind   of the file system, as of filesystem_of()
 * @param start  bytes, a multiple of the page size
 * @return false: refused by the kernel, `mapping` is empty, errno as of mmap(2)
 */
bool mapping_map(struct mapping *mapping, int fd, enum filesystem kind, off64_t start,
                 size_t length);

/*
 * What to do about a mapping that the kernel has refused.
 * @param failure  errno of mmap(2)
 * @return part of a sentence, which follows that error's text
 */
const char *mapping_remedy(int failure);

/* Unmap, if anything is mapped. Keeps errno. */
void mapping_unmap(struct mapping *mapping);

/*
 * The memory of an offset in the file.
 * @param offset     bytes
 * @param available  out: how many bytes are mapped from there on
 * @return NULL: the offset is not within the mapping
 */
const char *mapping_at(const struct mapping *mapping, off64_t offset, size_t *available);

#endif
