/*
 * A file system with one file, whose disk is slow, and broken in one place:
 *
 *     faultfs SOURCE OFFSET LENGTH DELAY MOUNTPOINT [-o OPTIONS]
 *
 * MOUNTPOINT/broken is SOURCE, read-only, but for LENGTH bytes from OFFSET on: to read there is an
 * input/output error. Each request takes DELAY milliseconds, and several are served at a time; as
 * long as a file SOURCE.hold exists, no read is answered. Stays in the foreground; SIGTERM
 * unmounts.
 */
#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char path[] = "/broken";
static int source;
static off_t broken_from, broken_to;
static char hold[PATH_MAX];
static useconds_t delay; /* microseconds */

static int get_attributes(const char *name, struct stat *status, struct fuse_file_info *info)
{
    (void)info;
    if (strcmp(name, "/") == 0) {
        *status = (struct stat){.st_mode = S_IFDIR | 0555, .st_nlink = 2};
        return 0;
    }
    if (strcmp(name, path) != 0)
        return -ENOENT;
    return fstat(source, status) == 0 ? 0 : -errno;
}

static int list(const char *name, void *buffer, fuse_fill_dir_t fill, off_t offset,
                struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)name, (void)offset, (void)info, (void)flags;
    return fill(buffer, path + 1, NULL, 0, (enum fuse_fill_dir_flags)0) == 0 ? 0 : -ENOMEM;
}

/* Whole or not at all: what is less than asked for, the kernel takes for the end of the file. */
static int read_at(const char *name, char *buffer, size_t size, off_t offset,
                   struct fuse_file_info *info)
{
    (void)name, (void)info;
    while (access(hold, F_OK) == 0)
        (void)usleep(10000);
    (void)usleep(delay);
    if (offset < broken_to && offset + (off_t)size > broken_from)
        return -EIO;
    ssize_t count = pread(source, buffer, size, offset);
    return count >= 0 ? (int)count : -errno;
}

int main(int count, char **arguments)
{
    static const struct fuse_operations operations = {
        .getattr = get_attributes,
        .readdir = list,
        .read = read_at,
    };

    if (count < 6) {
        (void)fprintf(stderr,
                      "usage: faultfs SOURCE OFFSET LENGTH DELAY MOUNTPOINT [-o OPTIONS]\n");
        return 2;
    }
    source = open(arguments[1], O_RDONLY);
    if (source == -1) {
        perror(arguments[1]);
        return 1;
    }
    (void)snprintf(hold, sizeof hold, "%s.hold", arguments[1]);
    broken_from = strtoll(arguments[2], NULL, 10);
    broken_to = broken_from + strtoll(arguments[3], NULL, 10);
    delay = (useconds_t)(1000 * strtoul(arguments[4], NULL, 10));
    arguments[3] = arguments[0];
    arguments[4] = "-f";
    return fuse_main(count - 3, arguments + 3, &operations, NULL);
}
