/*
 * Asking the disk for what a download reads next, before it does. The kernel reads ahead by itself,
 * but, as the device is set up by default, only 128 KiB.
 */
#ifndef READAHEAD_H
#define READAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* One reader of a file. All zero: nothing was read yet. */
struct readahead {
    off64_t began; /* where it began to read on and on, bytes */
    off64_t next;  /* where it reads next, if it goes on */
    off64_t asked; /* up to where the disk was asked */
    off64_t group; /* the one that `warm` was found out for, counted from 1 */
    bool warm;     /* what is ahead is in the page cache already */
};

/* Say how far ahead the disk is asked from now on, bytes, TransferMMapReadAhead; 0: not at all. */
void readahead_policy(off64_t bytes);

/* Whether it is asked at all. */
bool readahead_wanted(void);

/*
 * A read is about to begin: have the disk asked for what follows it, if this reader reads on and
 * on. Never farther ahead than it has read so far, so that who stops early wastes little. What is
 * in the page cache is not asked for; to find that out takes a system call for each 8 MiB.
 * Async-signal-safe. Changes errno.
 * @param offset, length  what is about to be read, bytes
 * @param size            of the file, bytes
 * @return whether it reads on where the last read ended
 */
bool readahead_follow(struct readahead *reader, int fd, off64_t offset, size_t length,
                      off64_t size);

/*
 * The kernel is about to send a file on FUSE from `offset` on: have it read nothing ahead by
 * itself, which would get our requests ignored (filesystem.h). Changes errno.
 * @param size  of the file, bytes
 */
void readahead_take_over(int fd, off64_t offset, off64_t size);

/*
 * How much may be sent at one go before the next look: as far as the page cache goes, looked at
 * once in 8 MiB, and 1 MiB at least. Changes errno.
 * @param offset, length  what is to be sent, bytes
 * @return bytes, up to `length`
 */
size_t readahead_stride(int fd, off64_t offset, size_t length);

#endif
