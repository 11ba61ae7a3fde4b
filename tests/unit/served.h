/*
 * Read like the wrappers. Reads by the kernel bypass the sanitizers: the thread sanitizer reports
 * a race between close and read, which some tests do on purpose.
 */
#ifndef SERVED_H
#define SERVED_H

#include "libc.h"
#include "reading.h"
#include "stream.h"

static inline ssize_t read_served(int fd, void *buffer, size_t count)
{
    struct iovec part = {buffer, count};
    struct reading reading = reading_read(fd, &part, 1, READING_MOVES);

    return reading.answered ? reading.bytes : libc_next(read)(fd, buffer, count);
}

static inline ssize_t pread_served(int fd, void *buffer, size_t count, off64_t offset)
{
    struct iovec part = {buffer, count};
    struct reading reading = reading_read(fd, &part, 1, offset);

    return reading.answered ? reading.bytes : libc_next(pread64)(fd, buffer, count, offset);
}

#endif
