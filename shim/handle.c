#include "handle.h"

#include "filesystem.h"
#include "libc.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_MOUNTS = 16 };

static struct {
    int mount, fd;  /* -1: not supported */
    char label[24]; /* for the watchdog: no path, which may have others below it */
} mounts[MOST_MOUNTS];
static unsigned mount_count;

/* Undo the escapes of mountinfo, "\040". */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        bool escaped = from[0] == '\\' && strspn(from + 1, "01234567") >= 3;
        int byte = escaped ? (from[1] - '0') * 64 + (from[2] - '0') * 8 + from[3] - '0' : *from;
        memcpy(to, &(unsigned char){(unsigned char)byte}, 1);
        from += escaped ? 4 : 1;
    }
    *to = '\0';
}

/* Open with O_PATH first: a mount point may be a device, or hidden by another mount.
 * @return descriptor of its root directory; -1 */
static int open_point(int mount, const char *point)
{
    struct stat64 status;
    int fd = -1, root = libc_next(open64)(point, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (root != -1 && fstat64(root, &status) == 0 && S_ISDIR(status.st_mode) &&
        filesystem_of(root, &status) >= FILESYSTEM_MAPPED &&
        (filesystem_mount(root) == (uint64_t)mount || filesystem_mount(root) == 0))
        fd = handle_reopen(root);
    libc_close(root);
    return fd;
}

/* @return descriptor of the mount's root directory; -1 */
static int open_mount(int mount)
{
    unsigned i = 0;

    while (i < mount_count && mounts[i].mount != mount)
        i++;
    if (i == MOST_MOUNTS) {
        handle_close_mounts();
        i = 0;
    }
    if (i == mount_count) {
        struct filesystem_place place;
        mounts[i].mount = mount;
        mounts[i].fd = -1;
        mount_count++;
        (void)snprintf(mounts[i].label, sizeof mounts[i].label, "mount %d", mount);
        if (watchdog_is_hung(mounts[i].label))
            return -1;
        watchdog_touch(mounts[i].label);
        /* A root directory that is not a mount point, as in a plain chroot, is not found. So it is
         * the last resort. */
        if (!filesystem_find(0, (uint64_t)mount, &place))
            memcpy(place.point, "/", sizeof "/");
        unescape(place.point);
        mounts[i].fd = open_point(mount, place.point);
    }
    if (mounts[i].fd != -1)
        watchdog_touch(mounts[i].label);
    return mounts[i].fd;
}

int handle_find(const struct handle *handle, uint64_t device, uint64_t inode, struct stat64 *status)
{
    struct handle copy = *handle; /* the kernel's structure is not const */
    int fd = -1, mount = open_mount(handle->mount);

    errno = EXDEV;
    if (mount != -1)
        fd = open_by_handle_at(mount, (struct file_handle *)(void *)&copy, O_PATH | O_CLOEXEC);
    if (fd == -1 || (fstat64(fd, status) == 0 && S_ISREG(status->st_mode) && status->st_nlink > 0 &&
                     status->st_dev == device && status->st_ino == inode))
        return fd;
    libc_close(fd);
    errno = ESTALE;
    return -1;
}

/* O_NONBLOCK: it may be leased. */
int handle_reopen(int fd)
{
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return libc_next(open64)(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

void handle_close_mounts(void)
{
    for (unsigned i = 0; i < mount_count; i++)
        libc_close(mounts[i].fd);
    mount_count = 0;
}

/* Try any handle: the kernel checks the capability first. */
bool handle_allowed(void)
{
    struct handle any = {.bytes = 8, .type = 1};
    int root = libc_next(open64)("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open_by_handle_at(root, (struct file_handle *)(void *)&any, O_PATH | O_CLOEXEC);
    bool allowed = fd != -1 || errno == ESTALE;

    libc_close(fd);
    libc_close(root);
    return allowed;
}

bool handle_exists(const char *path)
{
    struct handle handle = {.bytes = sizeof handle.data};
    int mount;

    return name_to_handle_at(AT_FDCWD, path, (struct file_handle *)(void *)&handle, &mount,
                             AT_SYMLINK_FOLLOW) == 0;
}
