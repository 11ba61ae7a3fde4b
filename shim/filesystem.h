/*
 * How the kind of file system that a file is on decides whether, and how, it is mapped.
 */
#ifndef FILESYSTEM_H
#define FILESYSTEM_H

#include <sys/stat.h>

enum filesystem {
    FILESYSTEM_UNMAPPED, /* left to the kernel: a mapping may not show what read() gives */
    FILESYSTEM_MAPPED,
    /* Mapped. FUSE ignores requests to read ahead while it is busy if the kernel's last read
     * through this descriptor left something to read ahead (fs/fuse/file.c, fuse_readahead()). */
    FILESYSTEM_FUSE
};

/*
 * Ask once for each open file: on a network or user-space file system this is a round trip.
 * Unmapped are files whose content is made while it is read; overlayfs, where a file that is
 * written to becomes another one; tmpfs with holes, because looking into a hole fills it.
 * Async-signal-safe. Changes errno.
 * @param status  the file's
 */
enum filesystem filesystem_of(int fd, const struct stat64 *status);

#endif
