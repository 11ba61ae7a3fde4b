/*
 * Reads of served descriptors. All functions are async-signal-safe and preserve errno on success.
 */
#ifndef READING_H
#define READING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Instead of an offset in the file: read at the stream's, and move it. */
#define READING_MOVES INT64_MIN

struct reading {
    bool answered; /* false: the caller is to ask the kernel, whose offset is the stream's */
    ssize_t bytes; /* what preadv(2) would return, with errno */
};

/* Read from memory, or from the kernel at the stream's offset.
 * @param offset  in the file, bytes; or READING_MOVES */
struct reading reading_read(int fd, const struct iovec *parts, int count, off64_t offset);

/* The same with parts in the program's memory, which may be anywhere. */
struct reading reading_readv(int fd, const struct iovec *parts, int count, off64_t offset);

#endif
