/*
 * Reads of served descriptors. All functions are async-signal-safe and keep errno on success.
 */
#ifndef READING_H
#define READING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Instead of an offset in the file: read at the stream's, and move it. */
#define READING_MOVES INT64_MIN

/*
 * Read from memory, or, where that can't be mapped, from the kernel at the stream's offset.
 * @param offset  in the file, bytes; or READING_MOVES
 * @param result  out: as of preadv(2), with errno
 * @return false: it is the kernel's to answer, whose offset is right
 */
bool reading_read(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result);

/* The same with parts that are the program's: they may be anywhere, or be read into. */
bool reading_readv(int fd, const struct iovec *parts, int count, off64_t offset, ssize_t *result);

#endif
