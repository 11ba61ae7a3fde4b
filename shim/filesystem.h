/*
 * The kind of file system that a file is on, which decides whether, and how, it is mapped. All
 * functions but the last two are async-signal-safe and may change errno.
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
    FILESYSTEM_UNMAPPED, /* left to the kernel: a mapping may differ from what read() returns */
    FILESYSTEM_HOLES,    /* left to the kernel: reading a mapping would fill the file's holes */
    FILESYSTEM_MAPPED,   /* a mapping shows what read() returns */
    FILESYSTEM_CHECKED,  /* as long as fstat(2) returns the same size, mtime and ctime */
    FILESYSTEM_FUSE      /* checked, and read ahead differently: docs/design.md, "Read-ahead" */
};

/*
 * Ask once for each open file: on a network or user-space file system this is a round trip. Only
 * known kinds are mapped.
 * @param status  the file's
 */
enum filesystem filesystem_of(int fd, const struct stat64 *status);

static inline bool filesystem_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The number of the mount that a file is on; 0: unknown. */
uint64_t filesystem_mount(int fd);

/* Where a mount is. */
struct filesystem_place {
    char type[64];
    char point[PATH_MAX]; /* "\040" stands for a space, as in proc(5) */
};

/*
 * @param process  one that sees the mount; 0: this one
 * @param mount    from filesystem_mount()
 * @return false: it does not see it
 */
bool filesystem_find(pid_t process, uint64_t mount, struct filesystem_place *place);

/* Type and mount point, "ext4 at /srv". */
struct filesystem_name {
    char text[PATH_MAX + 80];
};

/* Name the file system of a mount, see filesystem_find(). */
struct filesystem_name filesystem_name(pid_t process, uint64_t mount);

#endif
