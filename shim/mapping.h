/*
 * A range of a file in memory.
 */
#ifndef MAPPING_H
#define MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct mapping {
    char *memory;  /* NULL: nothing is mapped */
    off64_t start; /* in the file, bytes; a multiple of the page size */
    size_t length; /* bytes */
};

/*
 * Whether a mapping of a file shows what read() gives, and costs no more. Not so: files whose
 * content is made while it is read; overlayfs, where a file that is written to becomes another one;
 * tmpfs, where looking into a hole fills it. Async-signal-safe. Changes errno.
 * @param status  the file's
 */
bool mapping_is_faithful(int fd, const struct stat64 *status);

/*
 * Whether a file is on FUSE. That passes over what it is asked to read ahead while it has much to
 * do, if what the kernel has read last through this descriptor left something to be read ahead
 * (fs/fuse/file.c, fuse_readahead()). Async-signal-safe. Changes errno.
 */
bool mapping_is_of_fuse(int fd);

/*
 * Map `length` bytes of a file from `start` on, shared and read-only, so that what is seen is the
 * page cache that read() would copy from.
 * @param start  bytes, a multiple of the page size
 * @return false: refused by the kernel, `mapping` is empty, errno as of mmap(2)
 */
bool mapping_map(struct mapping *mapping, int fd, off64_t start, size_t length);

/* Unmap, if anything is mapped. Async-signal-safe. Keeps errno. */
void mapping_unmap(struct mapping *mapping);

/*
 * The memory of a place in the file.
 * @param offset     in the file, bytes
 * @param available  out: how many bytes are mapped from there on
 * @return NULL: the place is not within the mapping
 */
const char *mapping_at(const struct mapping *mapping, off64_t offset, size_t *available);

#endif
