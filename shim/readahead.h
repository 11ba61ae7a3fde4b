/*
 * Asking the disk for what a download reads next, before it does. The kernel reads ahead only 128
 * KiB with a device's default. All functions are async-signal-safe, but may change errno. Offsets
 * and lengths are in bytes.
 */
#ifndef READAHEAD_H
#define READAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* One reader of a file. All zero: nothing was read yet. */
struct readahead {
    off64_t began; /* where it began to read sequentially */
    off64_t next;  /* where it reads next if it is sequential */
    off64_t asked; /* up to where the disk was asked */
    off64_t group; /* the one that `warm` is about, counted from 1 */
    bool warm;     /* what is ahead is in the page cache */
    off64_t cold;  /* readahead_stride() has looked up to here, and this was not */
};

/* How far ahead the disk is asked from now on, TransferMMapReadAhead; 0: not at all. */
void readahead_policy(off64_t bytes);

/* True unless the policy is 0. */
bool readahead_wanted(void);

/*
 * Before a read: ask the disk for what follows it, if the reader is sequential, but never farther
 * ahead than it has read so far, and not for what is in the page cache. Looking there takes a
 * system call for each 8 MiB.
 * @param offset, length  what is about to be read
 * @param size            of the file
 * @return true if it reads where the last read ended
 */
bool readahead_follow(struct readahead *reader, int fd, off64_t offset, size_t length,
                      off64_t size);

/* Before the kernel sends a file on FUSE from `offset` on: stop the kernel's own read-ahead, during
 * which FUSE ignores requests (docs/design.md, "Read-ahead"). @param size  of the file */
void readahead_take_over(int fd, off64_t offset, off64_t size);

/* How much of `length` to send before the next look: as far as the page cache goes, or 1 MiB. */
size_t readahead_stride(struct readahead *reader, int fd, off64_t offset, size_t length);

#endif
