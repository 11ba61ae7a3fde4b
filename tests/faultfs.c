/*
 * A file system with a slow disk, a read error in one place, and requests without an answer:
 *
 *     faultfs SOURCE OFFSET LENGTH DELAY MOUNTPOINT [-o OPTIONS]
 *
 * MOUNTPOINT/broken is SOURCE, read-only, except for LENGTH bytes from OFFSET on: reads there fail
 * with EIO. Each request takes DELAY milliseconds, and several are served at a time. No read is
 * answered while a file SOURCE.hold exists.
 *
 * MOUNTPOINT/stat/file, open/file, statfs/file and read/file are SOURCE, too, but the request in
 * the directory's name is never answered, like on a network file system whose server is gone.
 *
 * Stays in the foreground; SIGTERM unmounts.
 */
#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const silent[] = {"/stat", "/open", "/statfs", "/read"};
static int source;
static off_t broken_from, broken_to;
static char hold[PATH_MAX];
static useconds_t delay; /* microseconds */

static bool is_directory(const char *name)
{
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++) {
        if (strcmp(name, silent[i]) == 0)
            return true;
    }
    return strcmp(name, "/") == 0;
}

static bool is_file(const char *name)
{
    const char *slash = strrchr(name, '/');

    return strcmp(name, "/broken") == 0 || (slash > name && strcmp(slash, "/file") == 0);
}

static bool is_to_end(void)
{
    return fuse_session_exited(fuse_get_session(fuse_get_context()->fuse)) != 0;
}

/* Block until unmounted if the file never answers this request. */
static void answer(const char *name, const char *request)
{
    size_t length = strlen(request);

    while (strncmp(name, request, length) == 0 && name[length] == '/' && !is_to_end())
        (void)usleep(10000);
}

static int get_attributes(const char *name, struct stat *status, struct fuse_file_info *info)
{
    (void)info;
    answer(name, "/stat");
    if (is_directory(name)) {
        *status = (struct stat){.st_mode = S_IFDIR | 0555, .st_nlink = 2};
        return 0;
    }
    if (!is_file(name))
        return -ENOENT;
    return fstat(source, status) == 0 ? 0 : -errno;
}

static int list(const char *name, void *buffer, fuse_fill_dir_t fill, off_t offset,
                struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)offset, (void)info, (void)flags;
    const char *only = strcmp(name, "/") == 0 ? "broken" : "file";
    return fill(buffer, only, NULL, 0, (enum fuse_fill_dir_flags)0) == 0 ? 0 : -ENOMEM;
}

static int open_file(const char *name, struct fuse_file_info *info)
{
    (void)info;
    answer(name, "/open");
    return 0;
}

static int get_statistics(const char *name, struct statvfs *statistics)
{
    answer(name, "/statfs");
    *statistics = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};
    return 0;
}

/* Read all or nothing: the kernel takes a short read for the end of the file. */
static int read_at(const char *name, char *buffer, size_t size, off_t offset,
                   struct fuse_file_info *info)
{
    (void)info;
    answer(name, "/read");
    while (access(hold, F_OK) == 0 && !is_to_end())
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
        .open = open_file,
        .statfs = get_statistics,
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
