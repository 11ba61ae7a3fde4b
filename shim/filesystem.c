#include "filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Not in older headers; the last is not in any (fs/ntfs3/super.c). */
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#ifndef EXFAT_SUPER_MAGIC
#define EXFAT_SUPER_MAGIC 0x2011bab0
#endif
#define NTFS3_SUPER_MAGIC 0x7366746e

/* Reading a hole of a file on tmpfs through a mapping fills it. */
static enum filesystem unless_holes(const struct stat64 *status, enum filesystem filesystem)
{
    return status->st_blocks * 512 >= status->st_size ? filesystem : FILESYSTEM_HOLES;
}

/*
 * 9p: statfs(2) gives the type of the server's file system (fs/9p/vfs_super.c, v9fs_statfs()). As
 * on NFS there is no device, and a block is what a message holds, more than a page. But NFS has
 * handles.
 */
static bool is_9p(int fd, const struct stat64 *status)
{
    uint32_t size[2] = {0, 0}; /* the kernel writes one, qemu-user a long */
    struct file_handle none = {.handle_bytes = 0};
    int mount;

    return major(status->st_dev) == 0 && ioctl(fd, FIGETBSZ, size) == 0 &&
           size[0] > (uint32_t)sysconf(_SC_PAGESIZE) &&
           name_to_handle_at(fd, "", &none, &mount, AT_EMPTY_PATH) == -1 && errno != EOVERFLOW;
}

/* The reasons are in docs/compatibility.md, "File systems". */
enum filesystem filesystem_of(int fd, const struct stat64 *status)
{
    struct statfs system;

    if (fstatfs(fd, &system) == -1 || is_9p(fd, status))
        return FILESYSTEM_UNMAPPED;
    switch ((uint32_t)system.f_type) { /* signed, and of 32 or 64 bits */
    case EXT4_SUPER_MAGIC:             /* that of ext2 and ext3, too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case RAMFS_MAGIC:
    case SQUASHFS_MAGIC:
    case EROFS_SUPER_MAGIC_V1:
    case ISOFS_SUPER_MAGIC:
    case UDF_SUPER_MAGIC:
    case MSDOS_SUPER_MAGIC:
    case EXFAT_SUPER_MAGIC:
    case NTFS3_SUPER_MAGIC:
        return FILESYSTEM_MAPPED;
    case TMPFS_MAGIC:
        return unless_holes(status, FILESYSTEM_MAPPED);
    case OVERLAYFS_SUPER_MAGIC: /* its files may be on tmpfs */
        return unless_holes(status, FILESYSTEM_CHECKED);
    case NFS_SUPER_MAGIC:
        return FILESYSTEM_CHECKED;
    case FUSE_SUPER_MAGIC:
        return FILESYSTEM_FUSE;
    default:
        return FILESYSTEM_UNMAPPED;
    }
}

uint64_t filesystem_mount(int fd)
{
#ifdef STATX_MNT_ID /* Linux 5.8 */
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) == 0 &&
        (status.stx_mask & STATX_MNT_ID) != 0)
        return status.stx_mnt_id;
#endif
    return 0;
}

/* Lines of mountinfo, proc(5): "ID ID DEVICE ROOT MOUNTPOINT OPTIONS ... - TYPE ..." */
bool filesystem_find(pid_t process, uint64_t mount, struct filesystem_place *place)
{
    char path[64] = "/proc/self/mountinfo", *line = NULL;
    size_t room = 0;
    bool found = false;

    if (process != 0)
        (void)snprintf(path, sizeof path, "/proc/%" PRId32 "/mountinfo", (int32_t)process);
    FILE *mounts = fopen(path, "re");
    while (mounts != NULL && !found && getline(&line, &room, mounts) != -1) {
        const char *rest = strstr(line, " - ");
        found = strtoull(line, NULL, 10) == mount && rest != NULL &&
                sscanf(line, "%*s %*s %*s %*s %4095s", place->point) == 1 &&
                sscanf(rest, " - %63s", place->type) == 1;
    }
    free(line);
    if (mounts != NULL)
        (void)fclose(mounts);
    return found;
}

struct filesystem_name filesystem_name(pid_t process, uint64_t mount)
{
    struct filesystem_name name = {"an unknown file system"};
    struct filesystem_place place;

    if (filesystem_find(process, mount, &place))
        (void)snprintf(name.text, sizeof name.text, "%s at %s", place.type, place.point);
    return name;
}
