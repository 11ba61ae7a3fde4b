/*
 * How the kind of file system that a file is on decides whether, and how, it is mapped.
 */
#ifndef FILESYSTEM_H
#define FILESYSTEM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

enum filesystem {
    FILESYSTEM_UNMAPPED, /* left to the kernel: a mapping may not show what read() gives */
    FILESYSTEM_HOLES,    /* left to the kernel: a file with holes, which would be filled */
    FILESYSTEM_MAPPED,   /* a mapping shows what read() gives */
    /* The same, but only while fstat(2) gives the same size, mtime and ctime. */
    FILESYSTEM_CHECKED,
    /* Checked, too. FUSE ignores requests to read ahead while it is busy if the kernel's last read
     * through this descriptor left something to read ahead (fs/fuse/file.c, fuse_readahead()). */
    FILESYSTEM_FUSE
};

/*
 * Ask once for each open file: on a network or user-space file system this is a round trip.
 * Mapped are kinds that are known, all others are left to the kernel. Async-signal-safe. Changes
 * errno.
 * @param status  the file's
 */
enum filesystem filesystem_of(int fd, const struct stat64 *status);

/* Whether two times of a file, as of stat(2), are the same. Async-signal-safe, keeps errno. */
static inline bool filesystem_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The number of the mount that a file is on, 0: unknown. Async-signal-safe. Changes errno. */
uint64_t filesystem_mount(int fd);

/* Type and mount point, "ext4 at /srv". */
struct filesystem_name {
    char text[PATH_MAX + 80];
};

/*
 * Name the file system of a mount.
 * @param process  one that sees it
 * @param mount    as of filesystem_mount()
 */
struct filesystem_name filesystem_name(pid_t process, uint64_t mount);

#endif
